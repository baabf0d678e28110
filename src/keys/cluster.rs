//! The keys of the cluster as a backend sees them: shared memory, and the worker that fills it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::{Span, Timestamp};

use super::location::Origin;
use super::shared::{Shared, SlotId, State, Want};

/// What this backend has parsed of an origin's slot.
struct Entry {
    slot: SlotId,
    generation: u64,
    state: State,
    keys: Option<Arc<KeySet>>,
    /// When the worker last failed to answer in time.
    silent_since: Option<Instant>,
}

thread_local! {
    static ENTRIES: RefCell<HashMap<Origin, Entry>> = RefCell::new(HashMap::new());
}

/// More origins than this are those of former settings.
const MAX_ENTRIES: usize = 256;

/// A slot that no backend has used for this long can be given to another origin.
const UNUSED: Span = Span::from_seconds(600);

/// A worker that did not answer is not asked again for this long: nobody else should wait in vain.
const SILENCE: Duration = Duration::from_secs(5);

/// What the worker may need beyond the bound of a fetch to say that it failed.
const MOMENT: Duration = Duration::from_millis(500);

const NO_SLOT: &str = "All slots of the shared key cache are in use, or the source's name is too long. One whose source no session uses is free after ten minutes.";
const NO_ANSWER: &str = "The worker that fetches keys did not answer.";

/// The keys of an origin. Waits for the worker where there are none, or where they are overdue and the worker has not
/// tried. A wait that is cancelled raises. The error is a full sentence.
pub fn current(shared: Shared, origin: &Origin, now: Timestamp) -> Result<Arc<KeySet>, String> {
    let mut view = used(shared, origin, now)?;
    if view.state.times().need_fetch(view.keys.is_some(), now) {
        ask(shared, origin, view.slot, Want::Keys);
        view = used(shared, origin, now)?;
    }
    view.keys_in_force(origin, now)
}

/// Newer keys than those in force, where the cooldown allows to fetch them.
pub fn newer(shared: Shared, origin: &Origin, now: Timestamp) -> Result<Option<Arc<KeySet>>, String> {
    let view = used(shared, origin, now)?;
    if view.state.times().are_quiet(&origin.limits(), now) {
        return Ok(view.keys);
    }
    ask(shared, origin, view.slot, Want::Newer);
    used(shared, origin, now)?.keys_in_force(origin, now).map(Some)
}

/// Asks for newer keys now; [`Refresh::result`] waits for them.
pub fn refresh(shared: Shared, origin: &Origin, now: Timestamp) -> Result<Refresh, String> {
    let slot = used(shared, origin, now)?.slot;
    let number = shared.want(slot, Want::Now).ok_or(NO_SLOT)?;
    Ok(Refresh { slot, number })
}

/// A request for newer keys.
pub struct Refresh {
    slot: SlotId,
    number: u64,
}

impl Refresh {
    /// How the fetch ended. Raises where the wait is cancelled.
    pub fn result(self, shared: Shared, origin: &Origin, now: Timestamp) -> Result<(), String> {
        if !shared.wait(self.slot, self.number, origin.fetch_timeout() + MOMENT) {
            return Err(NO_ANSWER.into());
        }
        match used(shared, origin, now)?.state.error {
            error if error.is_empty() => Ok(()),
            error => Err(error),
        }
    }
}

/// An origin as it stands.
pub struct View {
    slot: SlotId,
    /// What its slot says.
    pub state: State,
    /// Its keys.
    pub keys: Option<Arc<KeySet>>,
}

impl View {
    fn keys_in_force(self, origin: &Origin, now: Timestamp) -> Result<Arc<KeySet>, String> {
        let servable = self.state.times().are_servable(&origin.limits(), now);
        match self.keys {
            Some(keys) if servable => Ok(keys),
            _ if !self.state.error.is_empty() => Err(self.state.error),
            Some(_) => Err("The keys are too old.".into()),
            None => Err(NO_ANSWER.into()),
        }
    }
}

fn used(shared: Shared, origin: &Origin, now: Timestamp) -> Result<View, &'static str> {
    let view = view(shared, origin, now)?;
    shared.touch(view.slot, now);
    Ok(view)
}

/// How an origin stands. It takes no lock while nothing changes. The error is a full sentence.
pub fn view(shared: Shared, origin: &Origin, now: Timestamp) -> Result<View, &'static str> {
    ENTRIES.with_borrow_mut(|entries| {
        // Read before what it counts, so that a change in between is seen the next time.
        let generation = shared.generation();
        if entries.get(origin).is_none_or(|entry| entry.generation != generation) {
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            let before = entries.remove(origin);
            let entry = synced(shared, origin, now, generation, before).ok_or(NO_SLOT)?;
            entries.insert(origin.clone(), entry);
        }
        let entry = &entries[origin];
        Ok(View { slot: entry.slot, state: entry.state.clone(), keys: entry.keys.clone() })
    })
}

fn synced(shared: Shared, origin: &Origin, now: Timestamp, generation: u64, before: Option<Entry>) -> Option<Entry> {
    if let Some(before) = before
        && let Some((state, document)) = shared.state(before.slot, before.state.serial)
    {
        let keys = match document {
            Some(document) => parsed(origin, &document),
            None => before.keys.filter(|_| state.serial == before.state.serial),
        };
        return Some(Entry { generation, state, keys, ..before });
    }
    let slot = shared.slot(&origin.descriptor(), UNUSED, now)?;
    let (state, document) = shared.state(slot, 0)?;
    let keys = document.and_then(|document| parsed(origin, &document));
    Some(Entry { slot, generation, state, keys, silent_since: None })
}

fn parsed(origin: &Origin, document: &[u8]) -> Option<Arc<KeySet>> {
    KeySet::parse(document, origin.location.trust()).ok().map(Arc::new)
}

/// Asks the worker, and waits for its answer unless it has lately failed to give one. The entry is not borrowed during
/// the wait, which can raise.
fn ask(shared: Shared, origin: &Origin, slot: SlotId, want: Want) {
    let silent = |since: Instant| since.elapsed() < SILENCE;
    if ENTRIES.with_borrow(|entries| entries.get(origin).and_then(|entry| entry.silent_since).is_some_and(silent)) {
        return;
    }
    let Some(number) = shared.want(slot, want) else { return };
    let answered = shared.wait(slot, number, origin.fetch_timeout() + MOMENT);
    ENTRIES.with_borrow_mut(|entries| {
        if let Some(entry) = entries.get_mut(origin) {
            entry.silent_since = (!answered).then(Instant::now);
        }
    });
}
