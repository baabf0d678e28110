//! The identity of the session: one guarded setting, `pg_jwks.session`, and its only writer.
//!
//! The value is the verified claims as ASCII JSON. As with any setting, PostgreSQL gives the identity its transactions,
//! savepoints, SET LOCAL, RESET, DISCARD and parallel workers.
//!
//! One thing that machinery does is unwanted: the rollback after a failed `jwt_session_init` restores the identity
//! before it. So each identity has a serial number, and a failure revokes all of them up to the present one, outside
//! of the transaction. A revoked value is erased where it stands, and when a rollback brings it back; what PostgreSQL
//! hands to parallel workers, whichever way they are started, is then an empty string.

mod login_identity;
mod refusal;
mod setting;

use std::cell::RefCell;
use std::sync::Arc;

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::time::Timestamp;

use setting::{IDENTITIES, SETTING, SessionClaims};

use crate::pg::backend_local::BackendLocal;

pub use login_identity::{has_login, log_in, restore_login};
pub use refusal::{forget as forget_refusal, is_refused};
pub use setting::{Grounds, Identity, Kept, Privilege, SETTING_NAME, next_serial};

/// Defines the setting.
pub fn define() {
    SETTING.define();
    refusal::watch();
}

/// The identity in force, if there is one. Whether it still stands is for the reader to check.
#[inline]
pub fn identity() -> Option<Identity> {
    IDENTITIES.in_force.get().map(|kept| kept.identity)
}

/// The identity in force with what is known of it.
pub fn in_force() -> Option<Kept> {
    IDENTITIES.in_force.get()
}

/// Another number whenever PostgreSQL has put an identity into force, or none.
#[inline]
pub fn assignments() -> u64 {
    IDENTITIES.assignments.get()
}

/// The identity in force has been judged again: when it ends now, leeway aside, and whether it must not write.
pub fn amend(end: Timestamp, read_only: bool) {
    if let Some(mut kept) = IDENTITIES.in_force.get() {
        kept.identity.end = end;
        kept.read_only = read_only;
        IDENTITIES.in_force.set(Some(kept));
    }
}

/// Whether the identity in force must not write.
pub fn is_read_only() -> bool {
    IDENTITIES.in_force.get().is_some_and(|kept| kept.read_only)
}

/// Whether the identity in force is that of the login.
pub fn is_login() -> bool {
    IDENTITIES.in_force.get().is_some_and(|kept| kept.origin.is_login())
}

/// Claims as they were read when they were set, and the serial of their identity.
type SetAs = (u64, Arc<ClaimSet>);

/// Those that were set last.
static SET_LAST: BackendLocal<RefCell<Option<SetAs>>> = BackendLocal::new(RefCell::new(None));

/// The claims of the identity of this serial as they were read when it was set, if that was the last one.
pub fn claims_set_as(serial: u64) -> Option<Arc<ClaimSet>> {
    SET_LAST.with_borrow(|last| last.as_ref().filter(|last| last.0 == serial).map(|last| last.1.clone()))
}

/// The claims of the identity in force, as ASCII JSON.
pub fn json() -> String {
    SETTING.value().and_then(|value| value.into_string().ok()).unwrap_or_default()
}

/// An identity that is being replaced. No identity up to the present one will be seen again, unless [`Replacement::set`]
/// succeeds. Whatever ends the scope of this, an error, a cancel or a panic included, the session fails closed.
#[must_use]
pub struct Replacement {
    revoked_before: u64,
}

impl Replacement {
    /// Begins to set an identity, for the session or for the transaction: until [`Replacement::set`] there is none.
    pub fn begin(is_local: bool) -> Self {
        refusal::refuse(is_local);
        IDENTITIES.put_in_force(None);
        Self { revoked_before: IDENTITIES.revoked.replace(IDENTITIES.newest.get()) }
    }

    /// Sets the identity, for the session or for the transaction, as `set_config` does.
    pub fn set(self, claims: &impl SessionClaims, kept: Kept, is_local: bool) {
        SETTING.assign(claims.json().c_str(), Kept { is_local, ..kept }, is_local);
        SET_LAST.set(Some((kept.identity.serial, claims.claims().clone())));
        IDENTITIES.revoked.set(self.revoked_before);
        refusal::forget();
        std::mem::forget(self);
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        SETTING.erase();
    }
}

/// Back to the identity that the session began with: none, or that of its login. An error leaves none.
pub fn clear() {
    let clearing = Clearing;
    restore_login();
    SETTING.reset();
    refusal::forget();
    std::mem::forget(clearing);
}

struct Clearing;

impl Drop for Clearing {
    fn drop(&mut self) {
        drop(Replacement::begin(false));
    }
}
