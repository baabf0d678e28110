//! The keys of the cluster as a backend sees them: those in shared memory, which the worker fetches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_jwks_core::cache::freshness::Upkeep;
use pg_jwks_core::cache::slots::{Owner, SlotId};
use pg_jwks_core::cache::worker_plan::Want;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::{Span, Timestamp};

use super::per_source::PerSource;
use super::shared::{Shared, shared};
use super::source::KeySource;
use super::store::{Asked, Standing, Store};
use crate::pg::backend_local::BackendLocal;
use crate::pg::process::database;

/// The store that all processes share.
pub struct ClusterStore;

/// What this backend has read of a source's slot.
struct Seen {
    slot: SlotId,
    /// The generation of the shared memory that it read, and the serial of the document.
    generation: u64,
    serial: u64,
    standing: Standing,
    /// The request that this backend waits for.
    awaited: Option<u64>,
    /// When the worker last failed to answer in time.
    silent_since: Option<Instant>,
}

static SEEN: BackendLocal<PerSource<Seen>> = BackendLocal::new(PerSource::new());

/// A slot that no backend has used for this long can be given to another source.
const UNUSED: Span = Span::from_seconds(600);

/// A worker that did not answer is not asked again for this long: nobody else should wait in vain.
const SILENCE: Duration = Duration::from_secs(5);

/// What the worker may need beyond the bound of a fetch to say that it failed.
const MOMENT: Duration = Duration::from_millis(500);

const NO_SLOT: &str = "All slots of the shared key cache (pg_jwks.max_key_sources) are in use, or the source's name is too long. One whose source no session uses is free after ten minutes.";
const NO_ANSWER: &str = "The worker that fetches keys did not answer.";

impl Store for ClusterStore {
    fn upkeep(&self) -> Upkeep {
        Upkeep::Unasked
    }

    /// Takes no lock while nothing changes.
    fn standing(&self, source: &KeySource, now: Timestamp) -> Result<Standing, &'static str> {
        let shared = shared().ok_or(NO_SLOT)?;
        // Read before what it counts, so that a change in between is seen the next time.
        let generation = shared.generation();
        let current = |seen: &mut Seen| (seen.generation == generation).then(|| seen.standing.clone());
        if let Some(standing) = SEEN.with(source, current).flatten() {
            return Ok(standing);
        }
        let before = SEEN.take(source);
        let seen = Seen::read(shared, source, now, generation, before).ok_or(NO_SLOT)?;
        let standing = seen.standing.clone();
        SEEN.keep(source, seen);
        Ok(standing)
    }

    fn touch(&self, source: &KeySource, now: Timestamp) {
        if let (Some(shared), Some(slot)) = (shared(), SEEN.with(source, |seen| seen.slot)) {
            shared.last_used(slot).touch(now);
        }
    }

    fn ask(&self, source: &KeySource, want: Want, now: Timestamp) -> Result<Asked, &'static str> {
        let shared = shared().ok_or(NO_SLOT)?;
        let standing = self.standing(source, now)?;
        self.touch(source, now);
        if want == Want::Newer && !standing.freshness.may_fetch_for_unknown_key(now, &source.limits()) {
            return Ok(Asked::Refused);
        }
        let silent = |since: Instant| since.elapsed() < SILENCE;
        let to_ask = SEEN.with(source, |seen| (seen.slot, seen.silent_since.is_some_and(silent)));
        let (slot, silent) = to_ask.ok_or(NO_SLOT)?;
        if silent && want != Want::Now {
            return Err(NO_ANSWER);
        }
        let number = shared.want(slot, want).ok_or(NO_SLOT)?;
        SEEN.with(source, |seen| seen.awaited = Some(number));
        Ok(Asked::Joined)
    }

    fn wait(&self, source: &KeySource) -> Result<(), &'static str> {
        let awaited = SEEN.with(source, |seen| seen.awaited.take().map(|number| (seen.slot, number))).flatten();
        let (Some(shared), Some((slot, number))) = (shared(), awaited) else { return Ok(()) };
        let answered = shared.wait(slot, number, source.fetch_timeout() + MOMENT);
        SEEN.with(source, |seen| seen.silent_since = (!answered).then(Instant::now));
        match answered {
            true => Ok(()),
            false => Err(NO_ANSWER),
        }
    }

    fn generation(&self) -> u64 {
        shared().map_or(0, Shared::generation)
    }

    fn sources(&self) -> Vec<KeySource> {
        let Some(shared) = shared() else { return Vec::new() };
        // The worker forgets the use of those that the settings no longer name.
        let in_use = |id: SlotId| shared.last_used(id).moment() > Timestamp::from_micros(0);
        let slots = shared.slots().into_iter().filter(|(id, _)| in_use(*id));
        slots.filter_map(|(_, descriptor)| KeySource::from_descriptor(&descriptor)).collect()
    }
}

impl Seen {
    /// Reads the slot of a source, and parses its document unless that is the one from before. `None` if there is no
    /// slot for it.
    fn read(shared: Shared, source: &KeySource, now: Timestamp, generation: u64, before: Option<Self>) -> Option<Self> {
        if let Some(before) = before
            && let Some((contents, document)) = shared.contents(before.slot, before.serial)
        {
            let keys = match document {
                Some(document) => parsed(source, &document),
                None => before.standing.keys.filter(|_| contents.serial == before.serial),
            };
            let standing = Standing { freshness: contents.freshness, keys, error: contents.error };
            return Some(Self { generation, serial: contents.serial, standing, ..before });
        }
        let slot = shared.slot(&source.descriptor(), Owner::database(database()), UNUSED, now)?;
        let (contents, document) = shared.contents(slot, 0)?;
        let keys = document.and_then(|document| parsed(source, &document));
        let standing = Standing { freshness: contents.freshness, keys, error: contents.error };
        Some(Self { slot, generation, serial: contents.serial, standing, awaited: None, silent_since: None })
    }
}

fn parsed(source: &KeySource, document: &[u8]) -> Option<Arc<KeySet>> {
    KeySet::parse(document, source.location.trust()).ok().map(Arc::new)
}
