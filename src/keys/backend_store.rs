//! The keys of a backend that has no shared memory to look in: it keeps them itself, and fetches for itself.

use std::cell::Cell;
use std::sync::Arc;

use pg_jwks_core::cache::freshness::Upkeep;
use pg_jwks_core::cache::worker_plan::Want;
use pg_jwks_core::time::Timestamp;

use super::fetch::Outcome;
use super::fetch_thread::{Ended, Fetching, Progress};
use super::per_source::PerSource;
use super::source::KeySource;
use super::store::{Asked, Standing, Store};
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock;
use crate::telemetry::counters::{count, counters};

/// This backend's own store.
pub struct BackendStore;

/// What the backend keeps of a source.
#[derive(Default)]
struct Kept {
    standing: Standing,
    fetching: Option<Fetching>,
}

/// How often keys have been fetched.
static GENERATION: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

static KEPT: BackendLocal<PerSource<Kept>> = BackendLocal::new(PerSource::new());

impl Store for BackendStore {
    fn upkeep(&self) -> Upkeep {
        Upkeep::OnUse
    }

    fn standing(&self, source: &KeySource, _now: Timestamp) -> Result<Standing, &'static str> {
        let standing = KEPT.with(source, |kept| {
            kept.harvest(source);
            kept.standing.clone()
        });
        Ok(standing.unwrap_or_default())
    }

    fn touch(&self, _source: &KeySource, _now: Timestamp) {}

    fn ask(&self, source: &KeySource, want: Want, now: Timestamp) -> Result<Asked, &'static str> {
        // Lets go of every fetch that is done, those for former settings included.
        KEPT.for_each(|source, kept| kept.harvest(source));
        if let Some(asked) = KEPT.with(source, |kept| kept.ask(source, want, now)) {
            return Ok(asked);
        }
        let mut kept = Kept::default();
        let asked = kept.ask(source, want, now);
        KEPT.keep(source, kept);
        Ok(asked)
    }

    fn wait(&self, source: &KeySource) -> Result<(), &'static str> {
        let readiness = KEPT.with(source, |kept| kept.fetching.as_ref().map(Fetching::readiness)).flatten();
        let Some(readiness) = readiness else { return Ok(()) };
        let in_time = readiness.wait(source.fetch_timeout());
        KEPT.with(source, |kept| {
            if !in_time {
                kept.fetching = None;
                let seconds = source.fetch_timeout().as_secs_f32();
                kept.failed(format!("No answer within {seconds} s."), clock::now());
            }
            kept.harvest(source);
        });
        Ok(())
    }

    fn generation(&self) -> u64 {
        GENERATION.get()
    }

    fn sources(&self) -> Vec<KeySource> {
        // Those of former settings are of no interest.
        Vec::new()
    }
}

impl Kept {
    fn ask(&mut self, source: &KeySource, want: Want, now: Timestamp) -> Asked {
        if self.fetching.is_some() {
            return Asked::Joined;
        }
        if want == Want::Newer {
            if !self.standing.freshness.may_fetch_for_unknown_key(now, &source.limits()) {
                return Asked::Refused;
            }
            self.standing.freshness.missed(now, &source.limits());
        }
        match Fetching::begin(source.clone(), now, None) {
            Ok(fetching) => self.fetching = Some(fetching),
            Err(error) => self.failed(format!("No thread could be started: {error}."), now),
        }
        Asked::Begun
    }

    /// Takes in the result of a fetch that is done.
    fn harvest(&mut self, source: &KeySource) {
        let ended = match self.fetching.as_mut().map(Fetching::progress) {
            None | Some(Progress::UnderWay) => return,
            Some(Progress::Done(ended)) => ended,
        };
        self.fetching = None;
        count(&counters().fetches);
        match ended {
            Ended { begun, result: Ok(Outcome::Fetched(fetched)), .. } => {
                self.standing.freshness.fetched(begun, fetched.max_age, &source.limits());
                self.standing.keys = Some(Arc::new(fetched.keys));
                GENERATION.set(GENERATION.get() + 1);
                self.standing.error = None;
            }
            Ended { result: Ok(Outcome::Unchanged(_)), .. } => unreachable!("no condition was sent"),
            Ended { ended, result: Err(error), .. } => self.failed(error, ended),
        }
    }

    fn failed(&mut self, error: String, at: Timestamp) {
        count(&counters().fetch_failures);
        self.standing.freshness.failed(at);
        self.standing.error = Some(error);
    }
}
