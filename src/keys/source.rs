//! The keys of a provider, wherever they come from.

use std::sync::Arc;

use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::{Provider, Source};
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::verify::{Keys, no_key_source};

use super::cluster;
use super::location::{Location, Origin};
use super::own::OwnKeys;
use super::shared::shared;
use crate::settings::Settings;

/// The keys under some settings at one moment.
pub struct KeysInForce<'s> {
    settings: &'s Settings,
    now: Timestamp,
    own: OwnKeys,
}

impl<'s> KeysInForce<'s> {
    /// The keys under these settings, at this moment.
    pub fn new(settings: &'s Settings, now: Timestamp) -> Self {
        Self { settings, now, own: OwnKeys::new(now) }
    }
}

impl Keys for KeysInForce<'_> {
    fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection> {
        if let Source::Inline(keys) = &provider.source {
            return Ok(keys.clone());
        }
        let origin = origin(provider, self.settings)?;
        let keys = match shared() {
            Some(shared) => cluster::current(shared, &origin, self.now),
            None => self.own.current(&origin),
        };
        keys.map_err(|error| unavailable(&origin, &error))
    }

    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        if let Source::Inline(_) = &provider.source {
            return Ok(None);
        }
        let origin = origin(provider, self.settings)?;
        let keys = match shared() {
            Some(shared) => cluster::newer(shared, &origin, self.now),
            None => self.own.newer(&origin),
        };
        keys.map_err(|error| unavailable(&origin, &error))
    }
}

/// Where a provider's keys come from. An error where they come from nowhere, or only without TLS.
pub fn origin(provider: &Provider, settings: &Settings) -> Result<Origin, Rejection> {
    if let Some(rejection) = no_key_source(provider) {
        return Err(rejection);
    }
    let Some(location) = Location::of(&provider.source) else {
        unreachable!("inline keys have no location, and their callers do not ask for one")
    };
    if let Some(url) = location.insecure_url()
        && !settings.network.allow_insecure_http
    {
        let detail = format!("Keys are not fetched from \"{url}\" without TLS.");
        return Err(Rejection::new(Reason::KeysUnavailable, detail)
            .hint("Use an https: URL, or set pg_jwks.allow_insecure_http for tests on one machine."));
    }
    Ok(Origin::new(location, settings))
}

fn unavailable(origin: &Origin, error: &str) -> Rejection {
    Rejection::new(Reason::KeysUnavailable, origin.location.problem(error)).hint(origin.location.hint())
}
