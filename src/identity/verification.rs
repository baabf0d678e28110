//! From a token to claims, with the settings and keys in force and the tokens that this backend remembers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use pg_jwks_core::cache::token_cache::{Remembered, TokenCache};
use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::digest::{Digest, digest};
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::rejection::{Check, Reason, Rejection};
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::explain::{CallersCheck, Finding, explain};
use pg_jwks_core::verification::logout::{Logout, verify_logout};
use pg_jwks_core::verification::verify::{VerifiedClaims, verify};

use super::revocation;
use crate::keys::KeysInForce;
use crate::pg::backend_local::BackendLocal;
use crate::pg::error;
use crate::settings::{self, Settings};

/// The remembered tokens, and the settings under which they were verified.
struct Memory {
    settings: Rc<Settings>,
    tokens: TokenCache,
}

static MEMORY: BackendLocal<RefCell<Option<Memory>>> = BackendLocal::new(RefCell::new(None));

/// A verified token, and what verifying it has found out.
pub struct Verification {
    /// Its claims.
    pub claims: Arc<VerifiedClaims>,
    /// The generation of the revocations at which none meant it, if it is remembered; `None` if it was verified now.
    pub unrevoked_at: Option<u64>,
    /// The token's digest.
    pub digest: Digest,
    settings: Rc<Settings>,
}

impl Verification {
    /// Whether no revocation means the token: the error is that one does. Raises if they cannot be read.
    pub fn check_revocation(&self) -> Result<(), Rejection> {
        let user = self.claims.provider().user(&self.claims);
        revocation::check(&self.claims, user.as_deref(), Some(&self.digest))
    }

    /// Warns that nobody is the user of a token that was verified now, if that is so.
    pub fn warn_of_nobody(&self) {
        if self.unrevoked_at.is_none()
            && let Some(detail) = self.claims.names_nobody()
        {
            error::warn("JWT names no user", detail, "If another claim names the user, set pg_jwks.user_claim to it.");
        }
    }

    /// Remembers the token: for claims that the database can hold, and that no revocation of this generation means.
    pub fn remember(&self, unrevoked_at: u64) {
        let token = Remembered { claims: self.claims.clone(), unrevoked_at };
        with_cache(&self.settings, |cache| cache.remember(self.digest, token));
    }
}

/// Verifies a token, or recognises one that this backend verified before under the same settings with the same keys.
/// May fetch keys; raises if that wait is cancelled.
pub fn verified(token: &[u8], now: Timestamp) -> Result<Verification, Rejection> {
    let settings = settings::current();
    let providers = providers(&settings)?;
    let mut keys = KeysInForce::new(&settings, now);
    let digest = digest(token);
    let (claims, unrevoked_at) = match with_cache(&settings, |cache| cache.recall(&digest, &mut keys, now))? {
        Some(remembered) => (remembered.claims, Some(remembered.unrevoked_at)),
        None => (Arc::new(verify(token, providers, &mut keys, now)?), None),
    };
    Ok(Verification { claims, unrevoked_at, digest, settings: settings.clone() })
}

/// Verifies a logout token with the settings and keys in force. May fetch keys; raises if that wait is cancelled.
pub fn logout(token: &[u8], now: Timestamp) -> Result<Logout, Rejection> {
    let settings = settings::current();
    verify_logout(token, providers(&settings)?, &mut KeysInForce::new(&settings, now), now)
}

/// Why a token would be accepted or not. `role` says what becomes of its role. Raises if the revocations cannot be read.
pub fn explained(
    token: &[u8],
    settings: &Rc<Settings>,
    now: Timestamp,
    role: impl Fn(&ClaimSet, &Provider) -> Result<(), Rejection>,
) -> Result<Vec<Finding>, Rejection> {
    let mut keys = KeysInForce::new(settings, now);
    let digest = digest(token);
    let callers: &mut CallersCheck = &mut |check, claims, provider| match check {
        Check::Revocation => revocation::check(claims, provider.user(claims).as_deref(), Some(&digest)),
        _ => role(claims, provider),
    };
    Ok(explain(token, providers(settings)?, &mut keys, now, callers))
}

/// Verifies once, and parses the settings, in the postmaster: every backend inherits what that leaves behind, and parses
/// the settings again only if its own differ. Raises nothing: wrong settings are for the backends to report.
pub fn warm_up() {
    let outcome = std::panic::catch_unwind(|| {
        settings::current();
        pg_jwks_core::verification::warm_up::warm_up()
    });
    // A failure would be met again, and reported, by the first verification.
    drop(outcome);
}

/// The trusted issuers.
pub fn providers(settings: &Settings) -> Result<&Providers, Rejection> {
    settings.providers.as_ref().map_err(|problem| {
        Rejection::new(Reason::SettingsInvalid, problem.clone()).hint("Correct the settings of pg_jwks.")
    })
}

fn with_cache<T>(settings: &Rc<Settings>, act: impl FnOnce(&mut TokenCache) -> T) -> T {
    MEMORY.with_borrow_mut(|memory| {
        let current = match memory.take() {
            Some(current) if Rc::ptr_eq(&current.settings, settings) => current,
            _ => Memory { settings: settings.clone(), tokens: TokenCache::new(settings.token_cache_size) },
        };
        act(&mut memory.insert(current).tokens)
    })
}
