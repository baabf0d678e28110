//! The identity of the session: one guarded setting, `pg_jwks.session`, and its only writer.
//!
//! The value is the verified claims as ASCII JSON. As with any setting, PostgreSQL gives the identity its transactions,
//! savepoints, SET LOCAL, RESET, DISCARD and parallel workers.
//!
//! One thing that machinery does is unwanted: the rollback after a failed `jwt_session_init` restores the identity
//! before it. So each identity has a serial number, and a failure revokes all of them up to the present one, outside
//! of the transaction. A revoked value is erased where it stands, and when a rollback brings it back; what PostgreSQL
//! hands to parallel workers, whichever way they are started, is then an empty string.

#[cfg(feature = "pg18")]
mod login_identity;

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::time::Timestamp;

use crate::pg::backend_local::BackendLocal;
use crate::pg::guarded_setting::{Guard, GuardedSetting};

#[cfg(feature = "pg18")]
pub use login_identity::{has_login, log_in, restore_before};

/// The identity in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Tells identities of this backend apart.
    pub serial: u64,
    /// `exp`.
    pub expires: Timestamp,
}

/// What is known of an identity beside its claims.
#[derive(Clone, Copy)]
struct Standing {
    identity: Identity,
    read_only: bool,
    /// Whether it is the identity of the login. Its serial is then a former one: see [`Identities::login_serial`].
    is_login: bool,
}

struct Identities {
    in_force: Cell<Option<Standing>>,
    /// Identities up to this serial are gone, whatever a rollback restores.
    revoked: Cell<u64>,
    /// The serial of the newest identity.
    newest: Cell<u64>,
    /// The serial of the login's identity, which can be revoked and come back.
    login_serial: Cell<u64>,
}

static IDENTITIES: BackendLocal<Identities> = BackendLocal::new(Identities {
    in_force: Cell::new(None),
    revoked: Cell::new(0),
    newest: Cell::new(0),
    login_serial: Cell::new(0),
});

impl Identities {
    /// The standing of an identity that has not been revoked.
    fn unrevoked(&self, mut standing: Standing) -> Option<Standing> {
        if standing.is_login {
            standing.identity.serial = self.login_serial.get();
        }
        (standing.identity.serial > self.revoked.get()).then_some(standing)
    }
}

struct Session;

static SETTING: BackendLocal<GuardedSetting<Session>> = GuardedSetting::new();

impl Guard for Session {
    const NAME: &'static CStr = c"pg_jwks.session";
    const DESCRIPTION: &'static CStr = c"The claims of the session's verified identity.";
    const LONG_DESCRIPTION: &'static CStr = c"Set by auth.jwt_session_init() only.";
    const REFUSAL: [&'static str; 2] =
        ["It holds the verified claims of the session's identity.", "Call auth.jwt_session_init() with a token."];

    type Extra = Standing;

    fn setting() -> &'static GuardedSetting<Self> {
        &SETTING
    }

    /// A parallel worker never writes.
    fn from_leader(value: &CStr) -> Option<Standing> {
        let expires = ClaimSet::from_verified_json(value.to_str().ok()?)?.expires()?;
        Some(new_standing(expires, false))
    }

    fn assigned(standing: Option<Standing>) -> bool {
        let unrevoked = standing.and_then(|standing| IDENTITIES.unrevoked(standing));
        IDENTITIES.in_force.set(unrevoked);
        unrevoked.is_some() == standing.is_some()
    }
}

/// Defines the setting.
pub fn define() {
    SETTING.define();
}

/// The identity in force, if there is one. Whether it has expired is for the reader to check.
#[inline]
pub fn identity() -> Option<Identity> {
    IDENTITIES.in_force.get().map(|standing| standing.identity)
}

/// Whether the identity in force must not write.
pub fn is_read_only() -> bool {
    IDENTITIES.in_force.get().is_some_and(|standing| standing.read_only)
}

/// Whether the identity in force is that of the login.
pub fn is_login() -> bool {
    IDENTITIES.in_force.get().is_some_and(|standing| standing.is_login)
}

/// A serial number that no identity has had.
pub fn next_serial() -> u64 {
    IDENTITIES.newest.set(IDENTITIES.newest.get() + 1);
    IDENTITIES.newest.get()
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
    /// Begins to set an identity: until [`Replacement::set`] the session has none.
    pub fn begin() -> Self {
        IDENTITIES.in_force.set(None);
        Self { revoked_before: IDENTITIES.revoked.replace(IDENTITIES.newest.get()) }
    }

    /// Sets the identity, for the session or for the transaction, as `set_config` does.
    pub fn set(self, json: &str, expires: Timestamp, read_only: bool, is_local: bool) {
        SETTING.assign(setting_value(json), new_standing(expires, read_only), is_local);
        IDENTITIES.revoked.set(self.revoked_before);
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
    #[cfg(feature = "pg18")]
    login_identity::restore();
    SETTING.reset();
    std::mem::forget(clearing);
}

struct Clearing;

impl Drop for Clearing {
    fn drop(&mut self) {
        drop(Replacement::begin());
    }
}

fn new_standing(expires: Timestamp, read_only: bool) -> Standing {
    Standing { identity: Identity { serial: next_serial(), expires }, read_only, is_login: false }
}

fn setting_value(json: &str) -> CString {
    CString::new(json).unwrap_or_else(|_| unreachable!("JSON text has no NUL"))
}
