//! The setting that holds the identity, and how an identity stands: in force, revoked, or the login's.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pg_jwks_core::claims::RestoredClaims;
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::verify::VerifiedClaims;

use crate::pg::backend_local::BackendLocal;
use crate::pg::guarded_setting::{Guard, GuardedSetting};

/// The identity in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Tells identities of this backend apart.
    pub serial: u64,
    /// `exp`.
    pub expires: Timestamp,
}

/// What is known of an identity beside its claims. PostgreSQL keeps it with them.
#[derive(Clone, Copy)]
pub struct Standing {
    /// The identity, under the serial that it had when it was set.
    pub identity: Identity,
    /// Whether it must not write.
    pub read_only: bool,
    /// Whether it is the identity of the login, whose serial changes: see [`Identities::login_serial`].
    pub is_login: bool,
}

impl Standing {
    /// That of an identity which nobody has had yet.
    pub fn new(expires: Timestamp, read_only: bool) -> Self {
        Self { identity: Identity { serial: next_serial(), expires }, read_only, is_login: false }
    }
}

/// The identities of this backend.
pub struct Identities {
    /// The one in force, under its present serial.
    pub in_force: Cell<Option<Standing>>,
    /// Identities up to this serial are gone, whatever a rollback restores.
    pub revoked: Cell<u64>,
    /// The serial of the newest one.
    pub newest: Cell<u64>,
    /// The serial of the login's, which can be revoked and come back.
    pub login_serial: Cell<u64>,
}

/// The identities of this backend.
pub static IDENTITIES: BackendLocal<Identities> = BackendLocal::new(Identities {
    in_force: Cell::new(None),
    revoked: Cell::new(0),
    newest: Cell::new(0),
    login_serial: Cell::new(0),
});

impl Identities {
    /// An identity under its present serial, unless it has been revoked.
    pub fn unrevoked(&self, mut standing: Standing) -> Option<Standing> {
        if standing.is_login {
            standing.identity.serial = self.login_serial.get();
        }
        (standing.identity.serial > self.revoked.get()).then_some(standing)
    }
}

/// A serial number that no identity has had.
pub fn next_serial() -> u64 {
    IDENTITIES.newest.set(IDENTITIES.newest.get() + 1);
    IDENTITIES.newest.get()
}

/// The name of the setting.
pub const SETTING_NAME: &CStr = c"pg_jwks.session";

/// The kind of the setting: see [`SETTING`].
pub struct Session;

/// The setting.
pub static SETTING: BackendLocal<GuardedSetting<Session>> = GuardedSetting::new();

impl Guard for Session {
    const NAME: &'static CStr = SETTING_NAME;
    const DESCRIPTION: &'static CStr = c"The claims of the session's verified identity.";
    const LONG_DESCRIPTION: &'static CStr = c"Set by auth.jwt_session_init() only.";
    const REFUSAL: [&'static str; 2] =
        ["It holds the verified claims of the session's identity.", "Call auth.jwt_session_init() with a token."];

    type Extra = Standing;

    fn setting() -> &'static GuardedSetting<Self> {
        &SETTING
    }

    /// A parallel worker never writes, so it need not know whether it must not.
    fn from_leader(value: &CStr) -> Option<Standing> {
        let expires = RestoredClaims::from_guarded_setting(value.to_str().ok()?)?.expires()?;
        Some(Standing::new(expires, false))
    }

    fn assigned(standing: Option<Standing>) -> bool {
        let unrevoked = standing.and_then(|standing| IDENTITIES.unrevoked(standing));
        IDENTITIES.in_force.set(unrevoked);
        unrevoked.is_some() == standing.is_some()
    }
}

/// Claims as a value of the setting.
pub fn setting_value(claims: &VerifiedClaims) -> CString {
    CString::new(claims.json()).unwrap_or_else(|_| unreachable!("JSON text has no NUL"))
}
