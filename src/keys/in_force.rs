//! The keys that verify tokens, wherever they come from and wherever they are kept.

use std::sync::Arc;

use pg_jwks_core::cache::freshness::Step;
use pg_jwks_core::cache::worker_plan::Want;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::{Provider, Source};
use pg_jwks_core::rejection::Rejection;
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::verify::Keys;

use super::backend_store::BackendStore;
use super::cluster_store::ClusterStore;
use super::shared::shared;
use super::source::KeySource;
use super::store::{Asked, Store};
use crate::pg::clock;
use crate::settings::Settings;

/// Where keys are kept: in shared memory if the library is preloaded, otherwise in the backend.
pub fn store() -> &'static dyn Store {
    match shared() {
        Some(_) => &ClusterStore,
        None => &BackendStore,
    }
}

/// The keys under some settings at one moment.
pub struct KeysInForce<'s> {
    settings: &'s Settings,
    store: &'static dyn Store,
    /// When the verification began or, if it waited for a fetch that failed, when that wait was over.
    now: Timestamp,
    /// Whether a fetch was begun for this verification: then nothing newer is to be had.
    fetched: bool,
    /// The keys that were given out last.
    given: Option<Arc<KeySet>>,
}

impl<'s> KeysInForce<'s> {
    /// The keys under these settings, at this moment.
    pub fn new(settings: &'s Settings, now: Timestamp) -> Self {
        Self { settings, store: store(), now, fetched: false, given: None }
    }

    /// The keys of a source. May wait for a fetch. The error is a full sentence.
    fn keys(&mut self, source: &KeySource) -> Result<Arc<KeySet>, String> {
        let limits = source.limits();
        let mut problem = None;
        // A fetch that an earlier verification began can bring keys that have expired by now; a second one cannot.
        for _ in 0..=2 {
            let standing = self.store.standing(source, self.now)?;
            self.store.touch(source, self.now);
            match (standing.freshness.step(self.now, &limits, self.store.upkeep()), standing.keys) {
                (Step::Use, Some(keys)) => return Ok(keys),
                (Step::UseAndRefresh, Some(keys)) => {
                    // If no fetch can be begun the keys serve nevertheless.
                    let _ = self.store.ask(source, Want::Keys, self.now);
                    return Ok(keys);
                }
                (Step::Fetch, _) => {
                    problem = self.fetch(source, Want::Keys).err();
                    if problem.is_some() {
                        break;
                    }
                }
                (Step::Use | Step::UseAndRefresh | Step::Unavailable, _) => break,
            }
        }
        let standing = self.store.standing(source, self.now)?;
        match standing.keys.filter(|_| standing.freshness.serves(self.now, &limits)) {
            Some(keys) => Ok(keys),
            None => Err(standing.error.unwrap_or_else(|| problem.unwrap_or("The keys are too old.").into())),
        }
    }

    /// Fetches and waits. False if it is too early for a fetch.
    fn fetch(&mut self, source: &KeySource, want: Want) -> Result<bool, &'static str> {
        match self.store.ask(source, want, self.now)? {
            Asked::Refused => return Ok(false),
            Asked::Begun => self.fetched = true,
            Asked::Joined => {}
        }
        self.store.wait(source)?;
        if self.store.standing(source, self.now)?.freshness.has_failed() {
            // The pause before the next attempt begins now.
            self.now = self.now.max(clock::now());
        }
        Ok(true)
    }
}

impl KeysInForce<'_> {
    fn last_and_next_try(&self, source: &KeySource) -> String {
        let freshness = self.store.standing(source, self.now).map(|standing| standing.freshness).unwrap_or_default();
        freshness.last_and_next_try(clock::now(), &source.limits(), self.store.upkeep())
    }
}

impl Keys for KeysInForce<'_> {
    fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection> {
        if let Source::Inline(keys) = &provider.source {
            return Ok(keys.clone());
        }
        let source = KeySource::of(provider, self.settings)?;
        let keys = self.keys(&source).map_err(|error| source.unavailable(&error, self.last_and_next_try(&source)))?;
        self.given = Some(keys.clone());
        Ok(keys)
    }

    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        if matches!(provider.source, Source::Inline(_)) || self.fetched {
            return Ok(None);
        }
        let source = KeySource::of(provider, self.settings)?;
        // If none may be fetched, or nobody answers, others may have fetched some meanwhile.
        let _ = self.fetch(&source, Want::Newer);
        let given = self.given.take();
        let keys = self.current(provider)?;
        Ok(Some(keys).filter(|keys| given.is_none_or(|given| !Arc::ptr_eq(keys, &given))))
    }

    fn last_and_next_look(&mut self, provider: &Provider) -> Option<String> {
        if matches!(provider.source, Source::Inline(_)) {
            return None;
        }
        let source = KeySource::of(provider, self.settings).ok()?;
        let standing = self.store.standing(&source, self.now).ok()?;
        standing.freshness.last_and_next_look(clock::now(), &source.limits())
    }
}

/// Fetches the keys of this session's issuers now, all at once. The error names the issuers whose keys could not be
/// had. Raises if the wait is cancelled.
pub fn refresh(settings: &Settings, now: Timestamp) -> Result<(), String> {
    let providers = settings.providers.as_ref().map_err(Clone::clone)?.all();
    let store = store();
    let (mut begun, mut problems) = (Vec::new(), Vec::new());
    for provider in providers.iter().filter(|provider| !matches!(provider.source, Source::Inline(_))) {
        match KeySource::of(provider, settings) {
            Err(rejection) => problems.push(rejection.detail),
            Ok(source) => begun.push((store.ask(&source, Want::Now, now), source)),
        }
    }
    for (asked, source) in begun {
        let answered = asked.and_then(|_| store.wait(&source)).and_then(|()| store.standing(&source, now));
        let error = answered.map_or_else(|silence| Some(silence.into()), |standing| standing.error);
        problems.extend(error.map(|error| source.location.problem(&error)));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}
