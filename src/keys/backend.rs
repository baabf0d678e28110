//! The per-backend cache: what each source's keys are, and when to fetch them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use pg_jwks_core::freshness::{CachedKeys, Limits, Step};
use pg_jwks_core::jwks::KeySet;
use pg_jwks_core::policy::{Provider, Source};
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verify::{Keys, no_key_source};

use super::fetch::{Location, Request};
use super::wait::{Fetching, Outcome, Progress, clock};
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

impl Entry {
    /// Takes in the result of a fetch that is done.
    fn harvest(&mut self, limits: &Limits) {
        match self.fetching.as_mut().map(Fetching::progress) {
            None | Some(Progress::UnderWay) => return,
            // Keys are as old as the request for them, however late somebody asks what it brought.
            Some(Progress::Done(Outcome { begun, result: Ok(fetched), .. })) => {
                self.cached.fetched(Arc::new(fetched.keys), fetched.max_age, begun, limits);
            }
            Some(Progress::Done(Outcome { ended, result: Err(error), .. })) => self.cached.failed(error, ended),
        }
        self.fetching = None;
    }
}

thread_local! {
    static ENTRIES: RefCell<HashMap<SourceKey, Entry>> = RefCell::new(HashMap::new());
}

/// More sources than this are those of former settings: a backend can see as many as it is configured for, so the
/// map is emptied rather than grown.
const MAX_ENTRIES: usize = 256;

/// The keys as this backend has them, for one verification.
pub struct BackendKeys<'s> {
    settings: &'s Settings,
    /// When the verification began or, where it waited for a fetch that failed, when that wait was over.
    now: Timestamp,
    /// Whether this verification fetched: then nothing newer is to be had.
    fetched: bool,
}

impl<'s> BackendKeys<'s> {
    /// The keys under these settings, at this moment.
    pub fn new(settings: &'s Settings, now: Timestamp) -> Self {
        Self { settings, now, fetched: false }
    }

    /// The keys of a source that must be read or fetched.
    fn cached(&mut self, source: &SourceKey) -> Result<Arc<KeySet>, Rejection> {
        // A fetch that an earlier verification began can bring keys that have expired by now; a second one cannot.
        const MAX_FETCHES: u32 = 2;
        let mut fetches = 0;
        self.harvest(source);
        loop {
            match with_entry(source, |entry| entry.cached.step(self.now, &self.settings.limits)) {
                Step::Use(keys) => return Ok(keys),
                Step::UseAndRefresh(keys) => {
                    self.begin(source);
                    return Ok(keys);
                }
                Step::Fetch if fetches < MAX_FETCHES => {
                    fetches += 1;
                    self.fetch(source);
                }
                Step::Fetch | Step::Unavailable => return Err(self.unavailable(source)),
            }
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

    /// Starts a fetch, unless one is under way. Whether it did.
    fn begin(&self, source: &SourceKey) -> bool {
        self.harvest_all();
        let request = Request { location: source.location.clone(), network: source.network.clone() };
        with_entry(source, |entry| {
            if entry.fetching.is_some() {
                return false;
            }
            match Fetching::begin(request, self.now) {
                Ok(fetching) => entry.fetching = Some(fetching),
                Err(error) => entry.cached.failed(format!("No thread could be started: {error}."), self.now),
            }
            true
        })
    }

    /// Takes in the result of a fetch that is done.
    fn harvest(&self, source: &SourceKey) {
        with_entry(source, |entry| entry.harvest(&self.settings.limits));
    }

    /// Lets go of every fetch that is done, those for former settings included.
    fn harvest_all(&self) {
        ENTRIES.with_borrow_mut(|entries| {
            entries.values_mut().for_each(|entry| entry.harvest(&self.settings.limits));
        });
    }

    /// Fetches and waits. A wait that is cancelled raises; the fetch goes on and the next verification has its keys.
    fn fetch(&mut self, source: &SourceKey) {
        self.fetched |= self.begin(source);
        // The entry is not borrowed during the wait, which can raise.
        let readiness = with_entry(source, |entry| entry.fetching.as_ref().map(Fetching::readiness));
        let Some(readiness) = readiness else { return };
        let in_time = readiness.wait(source.network.fetch_timeout);
        let failed = with_entry(source, |entry| {
            if !in_time {
                entry.fetching = None;
                let seconds = source.network.fetch_timeout.as_secs_f32();
                entry.cached.failed(format!("No answer within {seconds} s."), clock());
            }
            entry.harvest(&self.settings.limits);
            entry.cached.last_error().is_some()
        });
        if failed {
            // The pause before the next attempt begins now.
            self.now = self.now.max(clock());
        }
    }

    fn unavailable(&self, source: &SourceKey) -> Rejection {
        // Only a clock that goes back lets fetches succeed in vain.
        let error = with_entry(source, |entry| entry.cached.last_error().map(str::to_owned));
        let error = error.unwrap_or_else(|| "The clock of the server has changed.".into());
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
            other => {
                let source = self.source(Location::of(other))?;
                self.cached(&source)
            }
        }
    }

    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        if self.fetched || matches!(provider.source, Source::Inline(_)) {
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
        self.cached(&source).map(Some)
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
