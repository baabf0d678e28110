//! The setting that holds the identity, and what PostgreSQL keeps beside its claims.

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::Arc;

use pg_jwks_core::claims::{AssumedClaims, ClaimSet, RestoredClaims};
use pg_jwks_core::digest::Digest;
use pg_jwks_core::json::AsciiJson;
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::judgement::Evidence;
use pg_jwks_core::verification::verify::VerifiedClaims;
use pgrx::pg_sys::{Oid, TimestampTz};

use crate::identity::connected;
use crate::identity::origin::Origin;
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::present_moment;
use crate::pg::guarded_setting::{Guard, GuardedSetting};
use crate::telemetry::log_claims;

/// The identity in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Tells identities of this backend apart.
    pub serial: u64,
    /// `exp`.
    pub expires: Timestamp,
    /// When its token stops to be accepted, leeway aside: `exp`, or earlier.
    pub end: Timestamp,
}

/// By what an identity is judged again, beside its claims.
#[derive(Clone, Copy)]
pub enum Grounds {
    /// A token.
    Token {
        /// What else it had.
        evidence: Evidence,
        /// Its digest.
        token: Digest,
    },
    /// The privilege of a role to assume identities.
    Privilege(Privilege),
}

/// The privilege to assume identities.
#[derive(Clone, Copy)]
pub struct Privilege {
    /// Whose.
    pub role: Oid,
    /// `auth.assume_identity`, which the role may execute.
    pub function: Oid,
}

/// What is known of an identity beside its claims. PostgreSQL keeps it with them.
#[derive(Clone, Copy)]
pub struct Kept {
    /// The identity, under the serial that it had when it was set.
    pub identity: Identity,
    /// Whether it must not write.
    pub read_only: bool,
    /// Where it comes from. The serial of a login's identity changes: see [`Identities::login_serial`].
    pub origin: Origin,
    /// Whether it ends with the transaction.
    pub is_local: bool,
    /// When it was set.
    pub since: TimestampTz,
    /// By what it is judged again; `None` in a parallel worker, as the leader judges.
    pub grounds: Option<Grounds>,
}

impl Kept {
    /// Of an identity which nobody has had yet.
    pub fn new(expires: Timestamp, end: Timestamp) -> Self {
        let identity = Identity { serial: next_serial(), expires, end };
        let since = present_moment();
        Self { identity, read_only: false, origin: Origin::Init, is_local: false, since, grounds: None }
    }

    /// The same, of an identity that was assumed by this privilege.
    pub fn assumed(claims: &AssumedClaims, by: Privilege, read_only: bool) -> Self {
        let expires = claims.expires();
        let grounds = Some(Grounds::Privilege(by));
        Self { read_only, origin: Origin::Assumed, grounds, ..Self::new(expires, expires) }
    }

    /// The same, of the identity of a token with this digest.
    pub fn of_token(claims: &VerifiedClaims, token: Digest, read_only: bool) -> Self {
        let grounds = Grounds::Token { evidence: claims.evidence(), token };
        Self { read_only, grounds: Some(grounds), ..Self::new(claims.expires(), claims.end()) }
    }
}

/// The identities of this backend.
pub struct Identities {
    /// The one in force, under its present serial.
    pub in_force: Cell<Option<Kept>>,
    /// Identities up to this serial are gone, whatever a rollback restores.
    pub revoked: Cell<u64>,
    /// The serial of the newest one.
    pub newest: Cell<u64>,
    /// The serial of the login's, which can be revoked and come back.
    pub login_serial: Cell<u64>,
    /// How often PostgreSQL has put an identity into force, or none.
    pub assignments: Cell<u64>,
}

/// The identities of this backend.
pub static IDENTITIES: BackendLocal<Identities> = BackendLocal::new(Identities {
    in_force: Cell::new(None),
    revoked: Cell::new(0),
    newest: Cell::new(0),
    login_serial: Cell::new(0),
    assignments: Cell::new(0),
});

impl Identities {
    /// Puts an identity into force, or none.
    pub fn put_in_force(&self, kept: Option<Kept>) {
        self.in_force.set(kept);
        let serial = kept.map(|kept| kept.identity.serial);
        log_claims::put_in_force(serial);
        connected::put_in_force(serial);
        self.assignments.set(self.assignments.get().wrapping_add(1));
    }

    /// An identity under its present serial, unless it has been revoked.
    pub fn unrevoked(&self, mut kept: Kept) -> Option<Kept> {
        if kept.origin.is_login() {
            kept.identity.serial = self.login_serial.get();
        }
        (kept.identity.serial > self.revoked.get()).then_some(kept)
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

    type Extra = Kept;

    fn setting() -> &'static GuardedSetting<Self> {
        &SETTING
    }

    /// A parallel worker never writes, so it need not know whether it must not.
    fn from_leader(value: &CStr) -> Option<Kept> {
        let expires = RestoredClaims::from_guarded_setting(value.to_str().ok()?)?.expires()?;
        Some(Kept::new(expires, expires))
    }

    fn assigned(kept: Option<Kept>) -> bool {
        let unrevoked = kept.and_then(|kept| IDENTITIES.unrevoked(kept));
        IDENTITIES.put_in_force(unrevoked);
        unrevoked.is_some() == kept.is_some()
    }
}

/// Claims that may become the session's identity.
pub trait SessionClaims {
    /// As the setting holds them.
    fn json(&self) -> &AsciiJson;

    /// As they were read.
    fn claims(&self) -> &Arc<ClaimSet>;
}

impl SessionClaims for VerifiedClaims {
    fn json(&self) -> &AsciiJson {
        Self::json(self)
    }

    fn claims(&self) -> &Arc<ClaimSet> {
        Self::claims(self)
    }
}

impl SessionClaims for AssumedClaims {
    fn json(&self) -> &AsciiJson {
        Self::json(self)
    }

    fn claims(&self) -> &Arc<ClaimSet> {
        Self::claims(self)
    }
}
