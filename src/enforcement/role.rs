//! The role of an identity (`pg_jwks.set_role`).
//!
//! The role is PostgreSQL's own setting, so transactions and savepoints treat it as they treat the identity. A rollback
//! after a failed `jwt_session_init` restores the role too, and with it the rights of an identity that is gone. It is
//! therefore reset when PostgreSQL lets go of the memory of the transaction that failed, which comes after it has
//! restored its settings.
//!
//! An identity can also go in ways that are nobody's call: RESET, a setting made empty, the end of a transaction. So each
//! statement without identity first asks whether the role is still that of one ([`settle`]).

use std::cell::{Cell, RefCell};
use std::ffi::CString;

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::policy::role_map;
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;

use crate::identity::session;
use crate::pg::backend_local::BackendLocal;
use crate::pg::encoding::server_text;
use crate::pg::setting::{assign, reset_without_raising};
use crate::pg::transaction::{self, AfterEnd, Event};
use crate::pg::user::{current_role, current_user, may_set_role, role_named};
use crate::settings::Settings;

/// The roles that identities have set in this session.
static ROLES: BackendLocal<RefCell<Vec<pg_sys::Oid>>> = BackendLocal::new(RefCell::new(Vec::new()));

/// Whether an identity was in force, or a transaction has ended, since the role was last found to be nobody's or the
/// application's own.
static IS_DOUBTFUL: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(false));

/// The role that the application itself has set while there was no identity.
static OWN: BackendLocal<Cell<pg_sys::Oid>> = BackendLocal::new(Cell::new(pg_sys::InvalidOid));

/// Listens to the ends of transactions. Called once, when the library is loaded.
pub fn watch() {
    transaction::listen(ended);
}

/// Whether identities have set roles in this session.
#[inline]
pub fn are_set() -> bool {
    ROLES.with_borrow(|roles| !roles.is_empty())
}

/// An identity is in force: the role is its from now on.
pub fn belongs_to_identity() {
    IS_DOUBTFUL.set(true);
    OWN.set(pg_sys::InvalidOid);
}

/// Takes away the role of an identity that is gone, and says whether there was one. To be called without identity. The
/// application's own SET ROLE stays.
pub fn settle() -> bool {
    if !are_set() {
        return false;
    }
    if !IS_DOUBTFUL.get() {
        OWN.set(current_role());
        return false;
    }
    if is_security_definer() || !transaction::is_in_progress() {
        return false;
    }
    let is_left = role_is_set_by_identity();
    reset_role();
    IS_DOUBTFUL.set(false);
    is_left
}

/// The error that is about to be raised rolls back that [`settle`] took a role away: takes it away once more after that.
pub fn settle_after_error() {
    AfterEnd::new(reset_after_failure).arm();
}

/// A transaction's end can bring back a role that was set before, and end settings that hid it.
fn ended(event: Event) {
    match event {
        Event::Committed if !IS_DOUBTFUL.get() => OWN.set(current_role()),
        Event::Committed | Event::RolledBack | Event::SubRolledBack { .. } => {}
        Event::SubCommitted { .. } => return,
    }
    IS_DOUBTFUL.set(true);
}

/// A role that is about to change with the identity. Until this is told that all went well, the role of a former
/// identity is as good as gone.
#[must_use]
pub struct Change {
    on_failure: Option<AfterEnd>,
}

impl Change {
    /// Begins to set the role of an identity.
    pub fn begin() -> Self {
        belongs_to_identity();
        Self { on_failure: Some(AfterEnd::new(reset_after_failure)) }
    }

    /// Sets the role that the claims and the settings ask for, for the session or for the transaction. Raises 42501
    /// if the session user is no member of it.
    pub fn set(
        &self,
        claims: &ClaimSet,
        provider: &Provider,
        settings: &Settings,
        is_local: bool,
    ) -> Result<(), Rejection> {
        match settings.set_role {
            true => set_role(claims, provider, settings, is_local),
            false => {
                reset_role();
                Ok(())
            }
        }
    }

    /// The identity is in force.
    pub fn succeed(mut self) {
        self.on_failure = None;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if let Some(reset) = self.on_failure.take()
            && are_set()
        {
            reset.arm();
        }
    }
}

/// Takes away the role that an identity has set: at once, or with the transaction if this is called by a SECURITY
/// DEFINER function, within which the role must not change.
pub fn clear() {
    let change = Change::begin();
    if !is_security_definer() {
        reset_role();
        change.succeed();
    }
}

/// Takes away the role of an identity that has expired, and says whether identities have roles in this session.
pub fn expire() -> bool {
    if is_security_definer() || !are_set() {
        return false;
    }
    reset_role();
    true
}

/// What [`Change::set`] would say of these claims, which need not be verified.
pub fn check(claims: &ClaimSet, provider: &Provider, settings: &Settings) -> Result<(), Rejection> {
    if !settings.set_role {
        return Ok(());
    }
    let (name, role) = named_role(claims, provider, settings)?;
    match may_set_role(role) {
        true => Ok(()),
        false => {
            let detail = format!("The session user is not a member of role \"{}\".", name.to_string_lossy());
            Err(Rejection::new(Reason::RoleNotAccepted, detail).hint("GRANT the role to the user who logs in."))
        }
    }
}

fn set_role(claims: &ClaimSet, provider: &Provider, settings: &Settings, is_local: bool) -> Result<(), Rejection> {
    let (name, role) = named_role(claims, provider, settings)?;
    assign(c"role", Some(&name), is_local);
    ROLES.with_borrow_mut(|roles| {
        if !roles.contains(&role) {
            roles.push(role);
        }
    });
    Ok(())
}

/// The first role of this database that the claims name.
fn named_role(
    claims: &ClaimSet,
    provider: &Provider,
    settings: &Settings,
) -> Result<(CString, pg_sys::Oid), Rejection> {
    let mut roles = settings.roles_of(claims, provider)?.into_iter().filter_map(|name| {
        let name = server_text(name);
        let role = role_named(&name)?;
        Some((name, role))
    });
    roles.next().ok_or_else(role_map::no_role)
}

/// Resets the role if an identity has set it. The application's own SET ROLE stays.
fn reset_role() {
    if role_is_set_by_identity() {
        assign(c"role", None, false);
    }
}

fn role_is_set_by_identity() -> bool {
    let role = current_role();
    role != OWN.get() && ROLES.with_borrow(|roles| roles.contains(&role))
}

fn is_security_definer() -> bool {
    let (_, restrictions) = current_user();
    restrictions != 0
}

/// PostgreSQL has restored the settings from before a transaction that failed. Nothing here may raise.
fn reset_after_failure() {
    // Within a SECURITY DEFINER function the role does not count, and must not change.
    if session::identity().is_none() && role_is_set_by_identity() && !is_security_definer() {
        reset_without_raising(c"role");
    }
}
