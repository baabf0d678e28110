//! The keys of the cluster as a backend sees them: shared memory, and the worker that fills it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_jwks_core::jwks::{KeySet, Origin as Trust};
use pg_jwks_core::time::{Span, Timestamp};

use super::location::{Location, Origin};
use super::shared::{Shared, State, Want};

/// What this backend has parsed of an origin's slot.
struct Entry {
    descriptor: String,
    slot: usize,
    generation: u64,
    state: State,
    keys: Option<(u64, Arc<KeySet>)>,
}

thread_local! {
    static ENTRIES: RefCell<HashMap<Origin, Entry>> = RefCell::new(HashMap::new());
    /// When the worker last failed to answer in time.
    static SILENT_SINCE: RefCell<Option<Instant>> = const { RefCell::new(None) };
}

/// More origins than this are those of former settings.
const MAX_ENTRIES: usize = 256;

/// A slot that no backend has used for this long can be given to another origin.
const UNUSED: Span = Span::from_seconds(600);

/// A worker that did not answer is not asked again for this long: nobody else should wait in vain.
const SILENCE: Duration = Duration::from_secs(5);

const NO_SLOT: &str = "All slots of the shared key cache are in use, or the source's name is too long.";

/// The keys of an origin. Waits for the worker where there are none, or where they are overdue and the worker has not
/// tried. A wait that is cancelled raises. The error is a full sentence.
pub fn current(shared: Shared, origin: &Origin, now: Timestamp) -> Result<Arc<KeySet>, String> {
    let view = view(shared, origin, now).ok_or(NO_SLOT)?;
    let overdue = |view: &View| {
        let expires = view.state.fetched.saturating_add(view.state.life);
        now.micros() >= expires && view.state.attempted < expires
    };
    let view = match view.keys.is_none() || overdue(&view) {
        true => {
            ask(shared, origin, view.slot, Want::Keys);
            self::view(shared, origin, now).ok_or(NO_SLOT)?
        }
        false => view,
    };
    let limit = view.state.life.max(origin.limits().max_stale.micros());
    match view.keys {
        Some(keys) if now.micros() < view.state.fetched.saturating_add(limit) => Ok(keys),
        _ if !view.state.error.is_empty() => Err(view.state.error),
        Some(_) => Err("The keys are too old.".into()),
        None => Err("The worker that fetches keys did not answer.".into()),
    }
}

/// Newer keys than those in force, where the cooldown allows to fetch them.
pub fn newer(shared: Shared, origin: &Origin, now: Timestamp) -> Result<Option<Arc<KeySet>>, String> {
    let view = view(shared, origin, now).ok_or(NO_SLOT)?;
    if now.micros() < view.state.quiet_until {
        return Ok(view.keys);
    }
    ask(shared, origin, view.slot, Want::Newer);
    current(shared, origin, now).map(Some)
}

/// Fetches newer keys now.
pub fn refresh(shared: Shared, origin: &Origin, now: Timestamp) -> Result<(), String> {
    let view = view(shared, origin, now).ok_or(NO_SLOT)?;
    ask(shared, origin, view.slot, Want::Now);
    Ok(())
}

/// An origin as it stands.
pub struct View {
    slot: usize,
    /// What its slot says.
    pub state: State,
    /// Its keys.
    pub keys: Option<Arc<KeySet>>,
}

/// How an origin stands; `None` where it has no slot and cannot get one.
pub fn view(shared: Shared, origin: &Origin, now: Timestamp) -> Option<View> {
    ENTRIES.with_borrow_mut(|entries| {
        let generation = shared.generation();
        let known = entries.get(origin).is_some_and(|entry| entry.generation == generation);
        if !known {
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            let before = entries.remove(origin);
            entries.insert(origin.clone(), synced(shared, origin, now, generation, before)?);
        }
        let entry = entries.get(origin)?;
        shared.touch(entry.slot, now.micros());
        let keys = entry.keys.as_ref().map(|(_, keys)| keys.clone());
        Some(View { slot: entry.slot, state: entry.state.clone(), keys })
    })
}

fn synced(shared: Shared, origin: &Origin, now: Timestamp, generation: u64, before: Option<Entry>) -> Option<Entry> {
    let descriptor = before.as_ref().map_or_else(|| origin.descriptor(), |before| before.descriptor.clone());
    let kept = before.as_ref().map(|before| before.slot);
    let kept = kept.and_then(|slot| Some((slot, shared.state(slot, &descriptor)?)));
    let (slot, state) = match kept {
        Some(kept) => kept,
        None => {
            let slot = shared.slot(&descriptor, now.micros(), (now - UNUSED).micros())?;
            (slot, shared.state(slot, &descriptor)?)
        }
    };
    let keys = match before.and_then(|before| before.keys) {
        Some((serial, keys)) if serial == state.serial => Some((serial, keys)),
        _ => parsed(shared, origin, slot),
    };
    Some(Entry { descriptor, slot, generation, state, keys })
}

fn parsed(shared: Shared, origin: &Origin, slot: usize) -> Option<(u64, Arc<KeySet>)> {
    let (serial, document) = shared.document(slot);
    let keys = KeySet::parse(&document, trust(&origin.location)).ok()?;
    (serial != 0).then(|| (serial, Arc::new(keys)))
}

/// How far the documents of a location are trusted.
pub fn trust(location: &Location) -> Trust {
    match location {
        Location::File(_) => Trust::Local,
        Location::Url(_) | Location::Discovery(_) => Trust::Network,
    }
}

fn ask(shared: Shared, origin: &Origin, slot: usize, want: Want) {
    if SILENT_SINCE.with_borrow(|since| since.is_some_and(|since| since.elapsed() < SILENCE)) {
        return;
    }
    let number = shared.want(slot, want);
    let answered = shared.wait(slot, number, origin.fetch_timeout());
    SILENT_SINCE.set((!answered).then(Instant::now));
}
