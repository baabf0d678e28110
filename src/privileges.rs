//! What else an identity changes: the role (`pg_jwks.set_role`), and whether the session may write
//! (`pg_jwks.read_only_claim`).
//!
//! Both are PostgreSQL's own settings, so transactions and savepoints treat them as they treat the identity. A rollback
//! after a failed `jwt_session_init` restores the role too, and with it the rights of an identity that is gone. It is
//! therefore reset when PostgreSQL lets go of the memory of the transaction that failed, which comes after it has
//! restored its settings.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;

#[cfg(feature = "pg18")]
use crate::assignment::assign_for_good;
use crate::assignment::{assign, reset_without_raising};
use crate::identity::server_text;
use crate::session;
use crate::settings::Settings;

thread_local! {
    /// The roles that identities have set since the session was last without any.
    static ROLES: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
    /// Whether an identity has made the session read-only.
    static READ_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Until it is told that all went well, the role of a former identity is as good as gone.
#[must_use]
pub struct Attempt(());

/// Begins to set the privileges of an identity.
pub fn attempt() -> Attempt {
    Attempt(())
}

impl Attempt {
    /// Sets the role and the access mode that the claims and the settings ask for, for the session or for the
    /// transaction. Raises 42501 where the session user is no member of the role.
    pub fn set(&self, claims: &ClaimSet, settings: &Settings, is_local: bool) -> Result<(), Rejection> {
        match settings.set_role {
            true => set_role(claims, settings, is_local)?,
            false => reset_role(),
        }
        let read_only = settings.read_only_claim.as_ref().is_some_and(|path| claims.restricts(path));
        if read_only {
            assign(c"transaction_read_only", Some(c"on"), true);
        }
        if !is_local {
            match read_only {
                true => assign(c"default_transaction_read_only", Some(c"on"), false),
                false => reset_read_only(),
            }
            READ_ONLY.set(read_only);
        }
        Ok(())
    }

    /// The identity is in force.
    pub fn succeed(self) {
        std::mem::forget(self);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if ROLES.with_borrow(|roles| !roles.is_empty()) {
            // SAFETY: a transaction is in progress, and this is its memory.
            unsafe { reset_role_after(pg_sys::CurTransactionContext) };
        }
    }
}

/// Makes a session that logs in with a token read-only where the claims ask for it: whatever it returns to is too.
#[cfg(feature = "pg18")]
pub fn log_in(claims: &ClaimSet, settings: &Settings) {
    if settings.read_only_claim.as_ref().is_some_and(|path| claims.restricts(path)) {
        assign_for_good(c"default_transaction_read_only", c"on");
    }
}

/// Takes away what identities have set.
pub fn clear() {
    reset_role();
    reset_read_only();
}

fn set_role(claims: &ClaimSet, settings: &Settings, is_local: bool) -> Result<(), Rejection> {
    let provider = settings.provider_of(claims);
    let claimed: Vec<&str> = provider.iter().flat_map(|provider| claims.strings_at(&provider.role_claim)).collect();
    let mut roles = settings.role_map.roles(&claimed).into_iter().map(|name| {
        let name = server_text(name);
        // SAFETY: a C string; a role that does not exist gives an invalid OID.
        let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
        (name, oid)
    });
    let Some((name, oid)) = roles.find(|(_, oid)| *oid != pg_sys::InvalidOid) else {
        return Err(Rejection::new(Reason::RoleNotAccepted, "The token must name a role of this database.")
            .hint("Check pg_jwks.role_claim and pg_jwks.role_map."));
    };
    assign(c"role", Some(&name), is_local);
    ROLES.with_borrow_mut(|roles| {
        if !roles.contains(&oid) {
            roles.push(oid);
        }
    });
    Ok(())
}

/// Resets the role where an identity has set it. The application's own SET ROLE stays.
fn reset_role() {
    // SAFETY: reads a variable.
    let current = unsafe { pg_sys::GetCurrentRoleId() };
    if ROLES.with_borrow(|roles| roles.contains(&current)) {
        assign(c"role", None, false);
    }
}

/// Resets the role when PostgreSQL lets go of the memory of a transaction or subtransaction.
///
/// # Safety
///
/// The context must be the one of the innermost transaction.
unsafe fn reset_role_after(context: pg_sys::MemoryContext) {
    // SAFETY: the callback is called once, with this block, and gives it back to Rust.
    unsafe {
        let is_top = context == pg_sys::TopTransactionContext;
        let end =
            Box::into_raw(Box::new(EndOfTransaction { callback: pg_sys::MemoryContextCallback::default(), is_top }));
        (*end).callback.func = Some(transaction_ended);
        (*end).callback.arg = end.cast();
        pg_sys::MemoryContextRegisterResetCallback(context, &raw mut (*end).callback);
    }
}

struct EndOfTransaction {
    callback: pg_sys::MemoryContextCallback,
    is_top: bool,
}

/// PostgreSQL has restored the settings from before the transaction. Nothing here may raise.
unsafe extern "C-unwind" fn transaction_ended(end: *mut c_void) {
    // SAFETY: the block that `reset_role_after` made.
    let end = unsafe { Box::from_raw(end.cast::<EndOfTransaction>()) };
    let (mut user, mut security_context) = (pg_sys::InvalidOid, 0);
    // SAFETY: reads variables.
    let current = unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut security_context);
        pg_sys::GetCurrentRoleId()
    };
    let is_gone = session::identity().is_none() && ROLES.with_borrow(|roles| roles.contains(&current));
    // Within a SECURITY DEFINER function the role does not count, and must not change.
    if is_gone && security_context == 0 {
        reset_without_raising(c"role");
    }
    if !end.is_top {
        // A rollback of the transaction around this one would restore the role once more.
        // SAFETY: PostgreSQL makes the parent's memory the current one before it lets go of a subtransaction's.
        unsafe { reset_role_after(pg_sys::CurTransactionContext) };
    }
}

fn reset_read_only() {
    if READ_ONLY.get() {
        assign(c"default_transaction_read_only", None, false);
    }
}
