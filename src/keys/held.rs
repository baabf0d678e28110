//! The keys that are at hand without waiting.

use std::sync::Arc;

use pg_jwks_core::cache::freshness::Step;
use pg_jwks_core::cache::worker_plan::Want;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::{Provider, Source};
use pg_jwks_core::time::Timestamp;

use super::in_force::store;
use super::source::KeySource;
use crate::settings::Settings;

/// The keys of an issuer, as far as they are at hand.
pub enum Held {
    /// The keys that were fetched last, however old.
    AtHand(Arc<KeySet>),
    /// A fetch is under way.
    Awaited,
    /// There are none, and it is too early to ask again.
    Missing,
}

/// The keys of an issuer that are at hand. If there are none, a fetch begins for which nobody waits. Raises nothing.
pub fn held(provider: &Provider, settings: &Settings, now: Timestamp) -> Held {
    if let Source::Inline(keys) = &provider.source {
        return Held::AtHand(keys.clone());
    }
    let Ok(source) = KeySource::of(provider, settings) else { return Held::Missing };
    let store = store();
    let Ok(standing) = store.standing(&source, now) else { return Held::Missing };
    if let Some(keys) = standing.keys {
        return Held::AtHand(keys);
    }
    match standing.freshness.step(now, &source.limits(), store.upkeep()) {
        Step::Fetch if store.ask(&source, Want::Keys, now).is_ok() => Held::Awaited,
        _ => Held::Missing,
    }
}

/// Another number after each change of keys. It never falls.
#[inline]
pub fn generation() -> u64 {
    store().generation()
}
