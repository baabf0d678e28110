//! What an identity may do: its role (`pg_jwks.set_role`), and whether it may write (`pg_jwks.read_only_claim`).
//!
//! The role is PostgreSQL's own setting, so transactions and savepoints treat it as they treat the identity. A rollback
//! after a failed `jwt_session_init` restores the role too, and with it the rights of an identity that is gone. It is
//! therefore reset when PostgreSQL lets go of the memory of the transaction that failed, which comes after it has
//! restored its settings.

use std::cell::RefCell;
use std::ffi::c_void;

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;

use crate::identity::session;
use crate::pg::encoding::server_text;
use crate::pg::setting::{assign, reset_without_raising};
use crate::settings::Settings;

thread_local! {
    /// The roles that identities have set since the session was last without any.
    static ROLES: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
}

/// Until it is told that all went well, the role of a former identity is as good as gone.
#[must_use]
pub struct Attempt(());

/// Begins to set the privileges of an identity.
pub fn attempt() -> Attempt {
    Attempt(())
}

impl Attempt {
    /// Sets the role that the claims and the settings ask for, for the session or for the transaction. Raises 42501
    /// where the session user is no member of it.
    pub fn set(&self, claims: &ClaimSet, settings: &Settings, is_local: bool) -> Result<(), Rejection> {
        match settings.set_role {
            true => set_role(claims, settings, is_local),
            false => {
                reset_role();
                Ok(())
            }
        }
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

/// Takes away the role that an identity has set: at once, or with the transaction where this is called by a SECURITY
/// DEFINER function, within which the role must not change.
pub fn clear() {
    let attempt = attempt();
    if !is_security_definer() {
        reset_role();
        attempt.succeed();
    }
}

/// Takes away the role of an identity that has expired, and says whether identities have roles in this session.
pub fn expire() -> bool {
    if is_security_definer() || ROLES.with_borrow(Vec::is_empty) {
        return false;
    }
    reset_role();
    true
}

/// Whether the claims forbid to write.
pub fn is_read_only(claims: &ClaimSet, settings: &Settings) -> bool {
    settings.read_only_claim.as_ref().is_some_and(|path| claims.restricts(path))
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
    if role_is_set_by_identity() {
        assign(c"role", None, false);
    }
}

fn role_is_set_by_identity() -> bool {
    // SAFETY: reads a variable.
    let current = unsafe { pg_sys::GetCurrentRoleId() };
    ROLES.with_borrow(|roles| roles.contains(&current))
}

fn is_security_definer() -> bool {
    let (mut user, mut security_context) = (pg_sys::InvalidOid, 0);
    // SAFETY: the pointers are to variables that outlive the call.
    unsafe { pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut security_context) };
    security_context != 0
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
    // Within a SECURITY DEFINER function the role does not count, and must not change.
    if session::identity().is_none() && role_is_set_by_identity() && !is_security_definer() {
        reset_without_raising(c"role");
    }
    if !end.is_top {
        // A rollback of the transaction around this one would restore the role once more.
        // SAFETY: PostgreSQL makes the parent's memory the current one before it lets go of a subtransaction's.
        unsafe { reset_role_after(pg_sys::CurTransactionContext) };
    }
}
