//! One origin as the worker knows it.

use pg_jwks_core::cache::freshness::CachedKeys;
use pg_jwks_core::time::{Span, Timestamp};

use crate::keys::fetch::Validators;
use crate::keys::location::Origin;
use crate::keys::shared::{Request, Want};
use crate::keys::wait::Fetching;

/// An origin, its keys, and the fetch under way.
pub struct Entry {
    pub origin: Origin,
    pub descriptor: String,
    pub cached: CachedKeys,
    pub validators: Validators,
    /// When a fetch was last begun, in microseconds since the Unix epoch; 0 for never.
    pub attempted: i64,
    pub quiet_until: i64,
    pub fetching: Option<Underway>,
}

/// A fetch under way.
pub struct Underway {
    pub fetching: Fetching,
    /// The newest request that it answers.
    pub answers: u64,
    /// Whether it has been reported as failed, because it did not end in time. While its thread lives there is no
    /// other, so that a name server or a file system that hangs does not collect threads.
    pub overdue: bool,
}

impl Entry {
    /// When a fetch under way counts as failed. The thread has its own bounds; this one holds where a name server or a
    /// file system does not return.
    pub fn deadline(&self) -> Timestamp {
        let bound = i64::try_from(self.origin.fetch_timeout().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.attempted.saturating_add(bound)) + Span::from_millis(250)
    }

    /// When the next fetch is due: at once where there was none yet, even if stored keys are there.
    pub fn due(&self, now: Timestamp) -> Timestamp {
        let attempted = Some(self.attempted).filter(|micros| *micros != 0).map(Timestamp::from_micros);
        self.cached.due_after(attempted, now, &self.origin.limits())
    }

    /// Whether there are keys that have not expired.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.cached.is_fresh(now, &self.origin.limits())
    }

    /// Whether a request is reason to fetch now.
    pub fn wants_fetch(&mut self, request: &Request, now: Timestamp) -> bool {
        match request.want {
            Want::Now => true,
            Want::Newer => {
                let limits = self.origin.limits();
                let allowed = self.cached.may_fetch_for_unknown_key(now, &limits);
                if allowed {
                    self.quiet_until = (now + limits.cooldown).micros();
                }
                allowed
            }
            Want::Keys => now >= self.due(now),
        }
    }
}
