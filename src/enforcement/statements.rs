//! What holds for each statement of an identity, whether the statement reads the identity or not: one that must not write
//! does not (`pg_jwks.read_only_claim`), and one that has expired has no role any more (`pg_jwks.set_role`).
//!
//! The hooks call PostgreSQL as PostgreSQL calls them, without pgrx's guard around it: that would rebuild each error
//! that passes, and lose its context, the names of its table and constraint, and SQLSTATEs of the user's own.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;

use super::{read_only, role};
use crate::identity::expiry::{has_expired, raise_expired};
use crate::identity::session;
use crate::pg::hook::Hook;
#[cfg(feature = "pg18")]
use crate::pg::setting::is_reset_by;
use crate::pg::transaction;
use crate::settings::{self, OnExpiry};

unsafe extern "C-unwind" {
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
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

static EXECUTOR_START: Hook<pg_sys::ExecutorStart_hook_type> = Hook::new(None);
static PROCESS_UTILITY: Hook<pg_sys::ProcessUtility_hook_type> = Hook::new(None);

/// Installs the hooks before those of libraries that were loaded earlier.
pub fn watch() {
    // SAFETY: the library is about to be loaded. Both functions end with the hook that is next, or with PostgreSQL's own.
    unsafe {
        EXECUTOR_START.install(&raw mut pg_sys::ExecutorStart_hook, Some(executor_start));
        PROCESS_UTILITY.install(&raw mut pg_sys::ProcessUtility_hook, Some(process_utility));
    }
}

/// # Safety
///
/// To be called as a hook `ExecutorStart_hook`, by PostgreSQL or by the hook of another library.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    if session::identity().is_some() {
        // SAFETY: PostgreSQL passes a complete query, and expects errors here.
        unsafe { pgrx_extern_c_guard(|| enforce(!(*(*query).plannedstmt).relationOids.is_null())) };
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
        #[cfg(feature = "pg18")]
        if session::has_login() {
            pgrx_extern_c_guard(|| {
                if is_reset_by(session::SETTING_NAME, (*statement).utilityStmt) {
                    session::restore_login();
                }
            });
        }
        if session::identity().is_some() {
            pgrx_extern_c_guard(|| enforce(false));
        }
    }
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
}

/// Raises 28000 for a statement on tables if identities have roles and the one in force has expired: it was planned
/// for a role that is gone. Ends a session whose login has expired if `pg_jwks.on_expiry` says so.
fn enforce(is_on_tables: bool) {
    let Some(identity) = session::identity() else { return };
    read_only::enforce();
    // An aborted transaction has nothing left to protect.
    if !has_expired(identity) || !transaction::is_in_progress() {
        return;
    }
    let ends = session::is_login() && settings::on_expiry() == OnExpiry::Terminate;
    if ends || (role::expire() && is_on_tables) {
        raise_expired();
    }
}
