//! The keys of a backend that has no cluster cache to ask: it fetches for itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use pg_jwks_core::cache::freshness::{CachedKeys, Limits, Step};
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::Timestamp;

use super::fetch::Outcome;
use super::location::Origin;
use super::wait::{Ended, Fetching, Progress};
use crate::pg::clock;
use crate::telemetry::counters::{count, counters};

#[derive(Default)]
struct Entry {
    cached: CachedKeys,
    fetching: Option<Fetching>,
}

impl Entry {
    /// Takes in the result of a fetch that is done.
    fn harvest(&mut self, limits: &Limits) {
        let ended = match self.fetching.as_mut().map(Fetching::progress) {
            None | Some(Progress::UnderWay) => return,
            Some(Progress::Done(ended)) => ended,
        };
        self.fetching = None;
        count(&counters().fetches);
        match ended {
            // Keys are as old as the request for them, however late somebody asks what it brought.
            Ended { begun, result: Ok(Outcome::Fetched(fetched)), .. } => {
                self.cached.fetched(Arc::new(fetched.keys), fetched.max_age, begun, limits);
            }
            Ended { result: Ok(Outcome::Unchanged(_)), .. } => unreachable!("no condition was sent"),
            Ended { ended, result: Err(error), .. } => self.failed(error, ended),
        }
    }

    fn failed(&mut self, error: String, at: Timestamp) {
        count(&counters().fetch_failures);
        self.cached.failed(error, at);
    }
}

thread_local! {
    static ENTRIES: RefCell<HashMap<Origin, Entry>> = RefCell::new(HashMap::new());
}

/// More origins than this are those of former settings: a backend can see as many as it is configured for, so the
/// map is emptied rather than grown.
const MAX_ENTRIES: usize = 256;

/// The keys as this backend has them, for one verification. Errors are full sentences.
pub struct OwnKeys {
    /// When the verification began or, where it waited for a fetch that failed, when that wait was over.
    now: Timestamp,
    /// Whether this verification fetched: then nothing newer is to be had.
    fetched: bool,
}

impl OwnKeys {
    /// The keys at this moment.
    pub fn new(now: Timestamp) -> Self {
        Self { now, fetched: false }
    }

    /// The keys of an origin. May fetch and wait; a wait that is cancelled raises, while the fetch goes on and the next
    /// verification has its keys.
    pub fn current(&mut self, origin: &Origin) -> Result<Arc<KeySet>, String> {
        with_entry(origin, |entry| entry.harvest(&origin.limits()));
        // A fetch that an earlier verification began can bring keys that have expired by now; a second one cannot.
        for _ in 0..=2 {
            match with_entry(origin, |entry| entry.cached.step(self.now, &origin.limits())) {
                Step::Use(keys) => return Ok(keys),
                Step::UseAndRefresh(keys) => {
                    self.begin(origin);
                    return Ok(keys);
                }
                Step::Fetch => self.fetch(origin),
                Step::Unavailable => break,
            }
        }
        // Only a clock that goes back lets fetches succeed in vain.
        Err(last_error(origin).unwrap_or_else(|| "The clock of the server has changed.".into()))
    }

    /// Fetches newer keys, where the cooldown allows it.
    pub fn newer(&mut self, origin: &Origin) -> Result<Option<Arc<KeySet>>, String> {
        let limits = origin.limits();
        let allowed = !self.fetched
            && with_entry(origin, |entry| {
                entry.fetching.is_some() || entry.cached.may_fetch_for_unknown_key(self.now, &limits)
            });
        if !allowed {
            return Ok(None);
        }
        self.fetch(origin);
        self.current(origin).map(Some)
    }

    /// Fetches newer keys now.
    pub fn refresh(&mut self, origin: &Origin) -> Result<(), String> {
        self.fetch(origin);
        last_error(origin).map_or(Ok(()), Err)
    }

    /// Starts a fetch, unless one is under way. Whether it did.
    fn begin(&self, origin: &Origin) -> bool {
        harvest_all();
        with_entry(origin, |entry| {
            if entry.fetching.is_some() {
                return false;
            }
            match Fetching::begin(origin.clone(), self.now, None) {
                Ok(fetching) => entry.fetching = Some(fetching),
                Err(error) => entry.failed(format!("No thread could be started: {error}."), self.now),
            }
            true
        })
    }

    fn fetch(&mut self, origin: &Origin) {
        self.fetched |= self.begin(origin);
        // The entry is not borrowed during the wait, which can raise.
        let readiness = with_entry(origin, |entry| entry.fetching.as_ref().map(Fetching::readiness));
        let Some(readiness) = readiness else { return };
        let in_time = readiness.wait(origin.fetch_timeout());
        with_entry(origin, |entry| {
            if !in_time {
                entry.fetching = None;
                let seconds = origin.fetch_timeout().as_secs_f32();
                entry.failed(format!("No answer within {seconds} s."), clock::now());
            }
            entry.harvest(&origin.limits());
        });
        if last_error(origin).is_some() {
            // The pause before the next attempt begins now.
            self.now = self.now.max(clock::now());
        }
    }
}

/// What this backend holds of an origin.
pub fn held(origin: &Origin) -> CachedKeys {
    with_entry(origin, |entry| entry.cached.clone())
}

/// Lets go of every fetch that is done, those for former settings included.
fn harvest_all() {
    ENTRIES.with_borrow_mut(|entries| {
        entries.iter_mut().for_each(|(origin, entry)| entry.harvest(&origin.limits()));
    });
}

fn last_error(origin: &Origin) -> Option<String> {
    with_entry(origin, |entry| entry.cached.last_error().map(str::to_owned))
}

fn with_entry<T>(origin: &Origin, act: impl FnOnce(&mut Entry) -> T) -> T {
    ENTRIES.with_borrow_mut(|entries| {
        if !entries.contains_key(origin) && entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        act(entries.entry(origin.clone()).or_default())
    })
}
