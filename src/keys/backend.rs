//! The per-backend cache: what each source's keys are, and when to fetch them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use pg_jwks_core::freshness::{CachedKeys, Step};
use pg_jwks_core::jwks::KeySet;
use pg_jwks_core::policy::{Provider, Source};
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verify::{Keys, no_key_source};

use super::fetch::{Location, Request};
use super::wait::{Fetching, Progress};
use crate::settings::{Network, Settings};

/// One source under one set of network settings: keys that were fetched with other trust roots, or without TLS, do
/// not count when those settings have changed.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SourceKey {
    location: Location,
    network: Network,
}

#[derive(Default)]
struct Entry {
    cached: CachedKeys,
    fetching: Option<Fetching>,
}

thread_local! {
    static ENTRIES: RefCell<HashMap<SourceKey, Entry>> = RefCell::new(HashMap::new());
}

/// More sources than this are those of former settings: a backend can see as many as it is configured for, so the
/// map is emptied rather than grown.
const MAX_ENTRIES: usize = 256;

/// The keys as this backend has them, at one moment.
pub struct BackendKeys<'s> {
    settings: &'s Settings,
    now: Timestamp,
}

impl<'s> BackendKeys<'s> {
    /// The keys under these settings, at this moment.
    pub fn new(settings: &'s Settings, now: Timestamp) -> Self {
        Self { settings, now }
    }

    /// The keys of a source that must be read or fetched.
    fn cached(&self, location: Location) -> Result<Arc<KeySet>, Rejection> {
        let source = self.source(location)?;
        self.harvest(&source);
        match self.step(&source) {
            Step::Use(keys) => Ok(keys),
            Step::UseAndRefresh(keys) => {
                self.begin(&source);
                Ok(keys)
            }
            Step::Fetch => {
                self.fetch(&source);
                match self.step(&source) {
                    Step::Use(keys) | Step::UseAndRefresh(keys) => Ok(keys),
                    Step::Fetch | Step::Unavailable => Err(self.unavailable(&source)),
                }
            }
            Step::Unavailable => Err(self.unavailable(&source)),
        }
    }

    fn source(&self, location: Location) -> Result<SourceKey, Rejection> {
        let network = self.settings.network.clone();
        if let Some(url) = location.insecure_url()
            && !network.allow_insecure_http
        {
            return Err(Rejection::new(
                Reason::KeysUnavailable,
                format!("Keys are not fetched from \"{url}\" without TLS."),
            )
            .hint("Use an https: URL, or set pg_jwks.allow_insecure_http for tests on one machine."));
        }
        Ok(SourceKey { location, network })
    }

    fn step(&self, source: &SourceKey) -> Step {
        with_entry(source, |entry| entry.cached.step(self.now, &self.settings.limits))
    }

    /// Starts a fetch, unless one is under way.
    fn begin(&self, source: &SourceKey) {
        let request = Request { location: source.location.clone(), network: source.network.clone() };
        with_entry(source, |entry| {
            if entry.fetching.is_none() {
                match Fetching::begin(request) {
                    Ok(fetching) => entry.fetching = Some(fetching),
                    Err(error) => entry.cached.failed(format!("No thread could be started: {error}."), self.now),
                }
            }
        });
    }

    /// Takes in the result of a fetch that is done.
    fn harvest(&self, source: &SourceKey) {
        with_entry(source, |entry| {
            match entry.fetching.as_mut().map(Fetching::progress) {
                None | Some(Progress::UnderWay) => return,
                Some(Progress::Done(Ok(fetched))) => {
                    entry.cached.fetched(Arc::new(fetched.keys), fetched.max_age, self.now, &self.settings.limits);
                }
                Some(Progress::Done(Err(error))) => entry.cached.failed(error, self.now),
            }
            entry.fetching = None;
        });
    }

    /// Fetches and waits. A wait that is cancelled raises; the fetch goes on and the next verification has its keys.
    fn fetch(&self, source: &SourceKey) {
        self.begin(source);
        // The entry is not borrowed during the wait, which can raise.
        let readiness = with_entry(source, |entry| entry.fetching.as_ref().map(Fetching::readiness));
        if let Some(readiness) = readiness {
            let in_time = readiness.wait(source.network.fetch_timeout);
            self.harvest(source);
            if !in_time {
                with_entry(source, |entry| {
                    entry.fetching = None;
                    let seconds = source.network.fetch_timeout.as_secs_f32();
                    entry.cached.failed(format!("No answer within {seconds} s."), self.now);
                });
            }
        }
    }

    fn unavailable(&self, source: &SourceKey) -> Rejection {
        let error = with_entry(source, |entry| entry.cached.last_error().map(str::to_owned));
        let error = error.unwrap_or_else(|| "The keys are too old.".into());
        Rejection::new(Reason::KeysUnavailable, format!("Keys could not be had from {}. {error}", source.location))
            .hint(source.location.hint())
    }
}

impl Keys for BackendKeys<'_> {
    fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection> {
        if let Some(rejection) = no_key_source(provider) {
            return Err(rejection);
        }
        match &provider.source {
            Source::Inline(keys) => Ok(keys.clone()),
            other => self.cached(Location::of(other)),
        }
    }

    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        if matches!(provider.source, Source::Inline(_)) {
            return Ok(None);
        }
        let source = self.source(Location::of(&provider.source))?;
        let allowed = with_entry(&source, |entry| {
            entry.fetching.is_some() || entry.cached.may_fetch_for_unknown_key(self.now, &self.settings.limits)
        });
        if !allowed {
            return Ok(None);
        }
        self.fetch(&source);
        self.cached(Location::of(&provider.source)).map(Some)
    }
}

fn with_entry<T>(source: &SourceKey, act: impl FnOnce(&mut Entry) -> T) -> T {
    ENTRIES.with_borrow_mut(|entries| {
        if !entries.contains_key(source) && entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        act(entries.entry(source.clone()).or_default())
    })
}
