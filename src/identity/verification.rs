//! From a token to claims, with the settings and keys in force and the tokens that this backend remembers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use pg_jwks_core::cache::token_cache::TokenCache;
use pg_jwks_core::digest::{Digest, digest};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::explain::{Finding, RoleCheck, explain};
use pg_jwks_core::verification::verify::{VerifiedClaims, verify};

use crate::keys::KeysInForce;
use crate::pg::backend_local::BackendLocal;
use crate::settings::{self, Settings};

/// The remembered tokens, and the settings under which they were verified.
struct Remembered {
    settings: Rc<Settings>,
    tokens: TokenCache,
}

static REMEMBERED: BackendLocal<RefCell<Option<Remembered>>> = BackendLocal::new(RefCell::new(None));

/// A verified token, and what verifying it has found out.
pub struct Verification {
    /// Its claims.
    pub claims: Arc<VerifiedClaims>,
    /// Whether it was verified now, and not remembered.
    pub fresh: bool,
    /// The token's digest.
    pub digest: Digest,
    settings: Rc<Settings>,
}

impl Verification {
    /// Remembers the token: for claims that the database can hold.
    pub fn remember(&self) {
        with_cache(&self.settings, |cache| cache.remember(self.digest, self.claims.clone()));
    }
}

/// Verifies a token, or recognises one that this backend verified before under the same settings with the same keys.
/// May fetch keys; raises if that wait is cancelled.
pub fn verified(token: &[u8], now: Timestamp) -> Result<Verification, Rejection> {
    let settings = settings::current();
    let providers = providers(&settings)?;
    let mut keys = KeysInForce::new(&settings, now);
    let digest = digest(token);
    let (claims, fresh) = match with_cache(&settings, |cache| cache.claims(&digest, &mut keys, now))? {
        Some(claims) => (claims, false),
        None => (Arc::new(verify(token, providers, &mut keys, now)?), true),
    };
    Ok(Verification { claims, fresh, digest, settings: settings.clone() })
}

/// Why a token would be accepted or not. `role` says what becomes of its role.
pub fn explained(
    token: &[u8],
    settings: &Rc<Settings>,
    now: Timestamp,
    role: &mut RoleCheck,
) -> Result<Vec<Finding>, Rejection> {
    let mut keys = KeysInForce::new(settings, now);
    Ok(explain(token, providers(settings)?, &mut keys, now, role))
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
    REMEMBERED.with_borrow_mut(|remembered| {
        let current = match remembered.take() {
            Some(current) if Rc::ptr_eq(&current.settings, settings) => current,
            _ => Remembered { settings: settings.clone(), tokens: TokenCache::new(settings.token_cache_size) },
        };
        act(&mut remembered.insert(current).tokens)
    })
}
