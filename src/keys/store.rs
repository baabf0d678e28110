//! Where keys are kept and who fetches them: what a backend without shared memory and the cluster have in common.

use std::sync::Arc;

use pg_jwks_core::cache::freshness::{Freshness, Upkeep};
use pg_jwks_core::cache::worker_plan::Want;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::Timestamp;

use super::source::KeySource;

/// How a source stands.
#[derive(Clone, Default)]
pub struct Standing {
    /// The state of its keys.
    pub freshness: Freshness,
    /// Its keys.
    pub keys: Option<Arc<KeySet>>,
    /// Why the last fetch failed, as a full sentence; `None` if it did not.
    pub error: Option<String>,
}

/// What became of asking for a fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One was begun, for this.
    Begun,
    /// One was under way, or another process decides whether it begins one.
    Joined,
    /// It is too early for one.
    Refused,
}

/// A place in which keys are kept. Errors are full sentences.
pub trait Store {
    /// Who fetches keys that are due.
    fn upkeep(&self) -> Upkeep;

    /// How a source stands. An error if it has no place here.
    fn standing(&self, source: &KeySource, now: Timestamp) -> Result<Standing, &'static str>;

    /// Notes that a verification uses a source.
    fn touch(&self, source: &KeySource, now: Timestamp);

    /// Asks for a fetch. [`Store::wait`] waits for it. An error if nobody would answer.
    fn ask(&self, source: &KeySource, want: Want, now: Timestamp) -> Result<Asked, &'static str>;

    /// Waits until what was asked for is answered, well or not. Raises if the wait is cancelled; the fetch then goes on,
    /// and the next verification has its keys. An error if there was no answer.
    fn wait(&self, source: &KeySource) -> Result<(), &'static str>;

    /// Another number after each change of keys here. It never falls.
    fn generation(&self) -> u64;

    /// All the sources that this place knows beyond this session's own.
    fn sources(&self) -> Vec<KeySource>;
}
