//! What holds for each statement of an identity, whether the statement reads the identity or not: one that must not write
//! does not (`pg_jwks.read_only_claim`), and one that has expired or is gone has no role any more (`pg_jwks.set_role`).
//!
//! A role is taken away before a statement is planned, as plans are made for a role, if that can be: after the command
//! that ended the identity, or once the next statement is parsed. The executor's hooks are for what goes past these.
//!
//! The hooks call PostgreSQL as PostgreSQL calls them, without pgrx's guard around it: that would rebuild each error
//! that passes, and lose its context, the names of its table and constraint, and SQLSTATEs of the user's own.

use std::ffi::{c_char, c_int, c_void};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::prelude::*;

use super::{isolation, read_only, role, writing};
use crate::identity::judgement::{self, judge};
use crate::identity::session;
use crate::identity::standing::{is_past, note_statement, raise_past};
use crate::pg::hook::Hook;
use crate::pg::process::is_outside_of_statements;
use crate::pg::setting::is_reset_by;
use crate::pg::statement::{
    goes_on, is_commit, is_on_tables, is_rollback, keep_to_leader, plan_may_write, query_may_write, utility_may_write,
};
use crate::pg::user::current_role;
use crate::pg::{error, invalidation, transaction};
use crate::settings::{self, OnExpiry};

unsafe extern "C-unwind" {
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
    #[cfg(not(feature = "pg18"))]
    fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        execute_once: bool,
    );
    #[cfg(feature = "pg18")]
    fn standard_ExecutorRun(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64);
    fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

static PARSED: Hook<pg_sys::post_parse_analyze_hook_type> = Hook::new(None);
static EXECUTOR_RUN: Hook<pg_sys::ExecutorRun_hook_type> = Hook::new(None);
static EXECUTOR_FINISH: Hook<pg_sys::ExecutorFinish_hook_type> = Hook::new(None);
static OBJECT_ACCESS: Hook<pg_sys::object_access_hook_type> = Hook::new(None);
static EXECUTOR_START: Hook<pg_sys::ExecutorStart_hook_type> = Hook::new(None);
static PROCESS_UTILITY: Hook<pg_sys::ProcessUtility_hook_type> = Hook::new(None);

/// Installs the hooks before those of libraries that were loaded earlier.
pub fn watch() {
    role::watch();
    writing::watch();
    // SAFETY: the library is about to be loaded. Each function calls the hook that is next, or PostgreSQL's own function.
    unsafe {
        PARSED.install(&raw mut pg_sys::post_parse_analyze_hook, Some(parsed));
        EXECUTOR_RUN.install(&raw mut pg_sys::ExecutorRun_hook, Some(executor_run));
        EXECUTOR_FINISH.install(&raw mut pg_sys::ExecutorFinish_hook, Some(executor_finish));
        OBJECT_ACCESS.install(&raw mut pg_sys::object_access_hook, Some(object_access));
        EXECUTOR_START.install(&raw mut pg_sys::ExecutorStart_hook, Some(executor_start));
        PROCESS_UTILITY.install(&raw mut pg_sys::ProcessUtility_hook, Some(process_utility));
    }
}

/// # Safety
///
/// To be called as a hook `ExecutorStart_hook`, by PostgreSQL or by the hook of another library.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: PostgreSQL passes a complete query, and expects errors here.
    unsafe {
        if concerns_us() {
            invalidation::accept();
            pgrx_extern_c_guard(|| enforce(Extent::of_query(is_on_tables(query))));
        }
        if only_leader_knows() {
            pgrx_extern_c_guard(|| keep_to_leader(query));
        }
    }
    // SAFETY: the hook that was there before, or PostgreSQL itself, with PostgreSQL's own arguments. An error passes over
    // this frame, which has nothing to drop.
    unsafe {
        match EXECUTOR_START.next() {
            Some(next) => next(query, flags),
            None => standard_ExecutorStart(query, flags),
        }
    }
}

/// # Safety
///
/// To be called as a hook `ProcessUtility_hook`, by PostgreSQL or by the hook of another library.
#[allow(clippy::too_many_arguments)] // They are PostgreSQL's.
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL passes a complete statement, and expects errors here.
    unsafe {
        if session::is_refused() || session::has_login() {
            pgrx_extern_c_guard(|| {
                if is_reset_by(session::SETTING_NAME, (*statement).utilityStmt) {
                    session::forget_refusal();
                    session::restore_login();
                }
            });
        }
        if concerns_us() && !is_rollback((*statement).utilityStmt) {
            invalidation::accept();
            pgrx_extern_c_guard(|| match is_commit((*statement).utilityStmt) {
                true => enforce(Extent::Commit),
                false => enforce(Extent::Other),
            });
        }
    }
    // SAFETY: PostgreSQL passes a complete statement, and expects errors here.
    unsafe { pgrx_extern_c_guard(|| isolation::protect((*statement).utilityStmt)) };
    // SAFETY: PostgreSQL passes a complete statement.
    let before = writing::begin(unsafe { utility_may_write((*statement).utilityStmt) });
    // SAFETY: the hook that was there before, or PostgreSQL itself, with PostgreSQL's own arguments. An error passes over
    // this frame, which has nothing to drop.
    unsafe {
        match PROCESS_UTILITY.next() {
            Some(next) => next(statement, query, read_only_tree, context, params, environment, destination, completion),
            None => standard_ProcessUtility(
                statement,
                query,
                read_only_tree,
                context,
                params,
                environment,
                destination,
                completion,
            ),
        }
    }
    writing::end(before);
    if role::are_set() && session::identity().is_none() {
        // SAFETY: PostgreSQL expects errors here.
        unsafe { pgrx_extern_c_guard(role::settle) };
    }
}

/// # Safety
///
/// To be called as a hook `post_parse_analyze_hook`, by PostgreSQL or by the hook of another library.
unsafe extern "C-unwind" fn parsed(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: *mut pg_sys::JumbleState,
) {
    if role::are_set() {
        // SAFETY: PostgreSQL expects errors here.
        unsafe {
            invalidation::accept();
            pgrx_extern_c_guard(settle_role);
        }
    }
    if let Some(next) = PARSED.next() {
        // SAFETY: the hook that was there before, with PostgreSQL's own arguments.
        unsafe { next(state, query, jumble) };
    }
}

/// Defines the hook with the arguments that follow the query in this version of PostgreSQL.
macro_rules! executor_run {
    ($($argument:ident: $type:ty),*) => {
        /// # Safety
        ///
        /// To be called as a hook `ExecutorRun_hook`, by PostgreSQL or by the hook of another library.
        unsafe extern "C-unwind" fn executor_run(query: *mut pg_sys::QueryDesc, $($argument: $type),*) {
            // SAFETY: PostgreSQL passes a complete query that has begun, and expects errors here. The rest is the hook that
            // was there before, or PostgreSQL itself, with PostgreSQL's own arguments. An error passes over this frame,
            // which has nothing to drop.
            unsafe {
                if concerns_us() && goes_on(query) {
                    invalidation::accept();
                    pgrx_extern_c_guard(|| enforce(Extent::of_rest(is_on_tables(query))));
                }
                let before = writing::begin(query_may_write(query));
                match EXECUTOR_RUN.next() {
                    Some(next) => next(query, $($argument),*),
                    None => standard_ExecutorRun(query, $($argument),*),
                }
                writing::end(before);
            }
        }
    };
}

#[cfg(not(feature = "pg18"))]
executor_run!(direction: pg_sys::ScanDirection::Type, count: u64, execute_once: bool);
#[cfg(feature = "pg18")]
executor_run!(direction: pg_sys::ScanDirection::Type, count: u64);

/// # Safety
///
/// To be called as a hook `ExecutorFinish_hook`, by PostgreSQL or by the hook of another library.
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: PostgreSQL passes a complete query. The rest is as in `executor_run`: the hook that was there before, or
    // PostgreSQL itself, with PostgreSQL's own arguments.
    unsafe {
        let before = writing::begin(plan_may_write(query));
        match EXECUTOR_FINISH.next() {
            Some(next) => next(query),
            None => standard_ExecutorFinish(query),
        }
        writing::end(before);
    }
}

/// A function that the client calls by its OID is a statement too, though no executor runs it.
///
/// # Safety
///
/// To be called as a hook `object_access_hook`, by PostgreSQL or by the hook of another library.
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE && concerns_us() {
        // SAFETY: PostgreSQL expects errors here.
        unsafe {
            if is_outside_of_statements() {
                invalidation::accept();
                pgrx_extern_c_guard(enforce_for_call);
            }
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            if session::is_read_only() {
                pgrx_extern_c_guard(|| read_only::check_function(object));
            }
        }
    }
    if let Some(next) = OBJECT_ACCESS.next() {
        // SAFETY: the hook that was there before, with PostgreSQL's own arguments.
        unsafe { next(access, class, object, part, argument) };
    }
}

/// Whether a parallel worker would read what its leader must not: it neither knows that a token was refused, and would
/// believe `request.jwt.claims`, nor that an identity does not stand any more.
fn only_leader_knows() -> bool {
    match session::identity() {
        Some(identity) => is_past(identity),
        None => session::is_refused() && settings::trust_request_claims(),
    }
}

/// Whether there is anything to enforce: an identity, the role that one may have left, or the time for claims that
/// PostgREST has left.
#[inline]
fn concerns_us() -> bool {
    session::identity().is_some() || role::are_set() || settings::trust_request_claims()
}

/// Takes the role of an identity away that is gone or has expired, before a statement is planned for it.
fn settle_role() {
    let Some(identity) = session::identity() else {
        role::settle();
        return;
    };
    role::belongs_to_identity();
    if transaction::is_in_progress() {
        note_statement();
        judge();
        if is_past(identity) {
            role::expire();
        }
    }
}

/// As [`enforce`], for a function that is called by its OID. PostgreSQL has checked already whether the role may call the function.
fn enforce_for_call() {
    let role = current_role();
    enforce(Extent::Other);
    if current_role() != role {
        match session::identity() {
            Some(identity) => raise_past(identity),
            None => raise_gone(),
        }
    }
}

/// What a statement does, as far as it matters for an identity that does not stand any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// A query on tables, which begins.
    Tables,
    /// A query on tables that goes on: what its plan found out before about the identity, it does not ask again.
    RestOfTables,
    /// The end of a transaction, with which its changes last.
    Commit,
    /// Anything else.
    Other,
}

impl Extent {
    fn of_query(is_on_tables: bool) -> Self {
        if is_on_tables { Self::Tables } else { Self::Other }
    }

    fn of_rest(is_on_tables: bool) -> Self {
        if is_on_tables { Self::RestOfTables } else { Self::Other }
    }
}

/// Holds what must hold for the identity in force at the start of a statement. Raises 28000 for a statement on tables if
/// the identity would be refused now, or if it was planned for the role of an identity that has expired or is gone.
/// Statements without tables may pass, so that a new token can be presented; the readers refuse for themselves. Ends a
/// session whose login is past if `pg_jwks.on_expiry` says so.
fn enforce(extent: Extent) {
    note_statement();
    if session::identity().is_none() {
        if role::settle() && matches!(extent, Extent::Tables | Extent::RestOfTables) {
            raise_gone();
        }
        return;
    }
    role::belongs_to_identity();
    judge();
    read_only::enforce();
    let Some(identity) = session::identity().filter(|identity| is_past(*identity)) else { return };
    // An aborted transaction has nothing left to protect.
    if !transaction::is_in_progress() {
        return;
    }
    let had_role = role::expire();
    let is_refused = match extent {
        Extent::RestOfTables => true,
        Extent::Tables => had_role || judgement::is_refused(),
        Extent::Commit => judgement::is_refused(),
        Extent::Other => false,
    };
    if is_refused || (session::is_login() && settings::on_expiry() == OnExpiry::Terminate) {
        raise_past(identity);
    }
}

fn raise_gone() -> ! {
    role::settle_after_error();
    error::raise(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        "identity is gone".into(),
        "This statement was prepared for the role of an identity that is no longer in force.".into(),
        Some("Run it again.".into()),
    )
}
