//! The keys of a backend that has no cluster cache to ask: it fetches for itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use pg_jwks_core::freshness::{CachedKeys, Step};
use pg_jwks_core::jwks::KeySet;
use pg_jwks_core::time::Timestamp;

use super::fetch::Outcome;
use super::location::Origin;
use super::wait::{Fetching, Progress};
use crate::statistics::{count, counters};

#[derive(Default)]
struct Entry {
    cached: CachedKeys,
    fetching: Option<Fetching>,
}

thread_local! {
    static ENTRIES: RefCell<HashMap<Origin, Entry>> = RefCell::new(HashMap::new());
}

/// More origins than this are those of former settings: a backend can see as many as it is configured for, so the
/// map is emptied rather than grown.
const MAX_ENTRIES: usize = 256;

/// The keys of an origin. May fetch and wait; a wait that is cancelled raises, while the fetch goes on and the next
/// verification has its keys. The error is a full sentence.
pub fn current(origin: &Origin, now: Timestamp) -> Result<Arc<KeySet>, String> {
    harvest(origin, now);
    match step(origin, now) {
        Step::Use(keys) => Ok(keys),
        Step::UseAndRefresh(keys) => {
            begin(origin, now);
            Ok(keys)
        }
        Step::Fetch => {
            fetch(origin, now);
            match step(origin, now) {
                Step::Use(keys) | Step::UseAndRefresh(keys) => Ok(keys),
                Step::Fetch | Step::Unavailable => Err(problem(origin)),
            }
        }
        Step::Unavailable => Err(problem(origin)),
    }
}

/// Fetches newer keys, where the cooldown allows it.
pub fn newer(origin: &Origin, now: Timestamp) -> Result<Option<Arc<KeySet>>, String> {
    let limits = origin.limits();
    let allowed =
        with_entry(origin, |entry| entry.fetching.is_some() || entry.cached.may_fetch_for_unknown_key(now, &limits));
    if !allowed {
        return Ok(None);
    }
    fetch(origin, now);
    current(origin, now).map(Some)
}

/// Fetches newer keys now. The error is a full sentence.
pub fn refresh(origin: &Origin, now: Timestamp) -> Result<(), String> {
    fetch(origin, now);
    with_entry(origin, |entry| entry.cached.last_error().map_or(Ok(()), |error| Err(error.to_owned())))
}

/// What this backend holds of an origin.
pub fn held(origin: &Origin) -> CachedKeys {
    with_entry(origin, |entry| entry.cached.clone())
}

fn step(origin: &Origin, now: Timestamp) -> Step {
    with_entry(origin, |entry| entry.cached.step(now, &origin.limits()))
}

/// Starts a fetch, unless one is under way.
fn begin(origin: &Origin, now: Timestamp) {
    with_entry(origin, |entry| {
        if entry.fetching.is_none() {
            match Fetching::begin(origin.clone(), None) {
                Ok(fetching) => entry.fetching = Some(fetching),
                Err(error) => entry.cached.failed(format!("No thread could be started: {error}."), now),
            }
        }
    });
}

/// Takes in the result of a fetch that is done.
fn harvest(origin: &Origin, now: Timestamp) {
    with_entry(origin, |entry| {
        let result = match entry.fetching.as_mut().map(Fetching::progress) {
            None | Some(Progress::UnderWay) => return,
            Some(Progress::Done(result)) => result,
        };
        entry.fetching = None;
        count(&counters().fetches);
        match result {
            Ok(Outcome::Fetched(fetched)) => {
                entry.cached.fetched(Arc::new(fetched.keys), fetched.max_age, now, &origin.limits());
            }
            Ok(Outcome::Unchanged(_)) => unreachable!("no condition was sent"),
            Err(error) => {
                count(&counters().fetch_failures);
                entry.cached.failed(error, now);
            }
        }
    });
}

fn fetch(origin: &Origin, now: Timestamp) {
    begin(origin, now);
    // The entry is not borrowed during the wait, which can raise.
    let readiness = with_entry(origin, |entry| entry.fetching.as_ref().map(Fetching::readiness));
    if let Some(readiness) = readiness {
        let in_time = readiness.wait(origin.fetch_timeout());
        harvest(origin, now);
        if !in_time {
            with_entry(origin, |entry| {
                entry.fetching = None;
                let seconds = origin.fetch_timeout().as_secs_f32();
                entry.cached.failed(format!("No answer within {seconds} s."), now);
            });
        }
    }
}

fn problem(origin: &Origin) -> String {
    let error = with_entry(origin, |entry| entry.cached.last_error().map(str::to_owned));
    error.unwrap_or_else(|| "The keys are too old.".into())
}

fn with_entry<T>(origin: &Origin, act: impl FnOnce(&mut Entry) -> T) -> T {
    ENTRIES.with_borrow_mut(|entries| {
        if !entries.contains_key(origin) && entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        act(entries.entry(origin.clone()).or_default())
    })
}
