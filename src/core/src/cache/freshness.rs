//! When a key set must be fetched, may be used, and must no longer be: a state machine to which the time is handed.

use std::sync::Arc;

use crate::bounds::MIN_KEY_LIFE_SECONDS;
use crate::jose::jwks::KeySet;
use crate::time::{Span, Timestamp};

/// The settings that rule the life of key sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Upper bound of a set's life (`pg_jwks.jwks_cache_ttl`).
    pub ttl: Span,
    /// Least time between two fetches that unknown keys cause (`pg_jwks.jwks_refresh_cooldown`).
    pub cooldown: Span,
    /// How long after its fetch a set serves while no newer one can be had (`pg_jwks.jwks_max_stale`).
    pub max_stale: Span,
}

/// What to do for a verification.
#[derive(Clone, Debug)]
pub enum Step {
    /// Use these keys.
    Use(Arc<KeySet>),
    /// Use these keys, and fetch newer ones meanwhile.
    UseAndRefresh(Arc<KeySet>),
    /// Fetch, and wait for it; on failure, step again.
    Fetch,
    /// No keys, and it is too early to try again.
    Unavailable,
}

/// The keys of one source and their history.
#[derive(Clone, Debug, Default)]
pub struct CachedKeys {
    held: Option<Held>,
    failure: Option<Failure>,
    last_miss: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched: Timestamp,
    /// What the provider granted; the setting bounds it at each step, so that a lower one holds at once.
    life: Span,
}

#[derive(Clone, Debug)]
struct Failure {
    count: u32,
    at: Timestamp,
    error: String,
}

/// The first wait after a failed fetch. Each further failure doubles it, up to the cooldown. Up to a fifth is taken off,
/// by the microsecond of the failure, so that servers do not keep step.
const FIRST_RETRY: Span = Span::from_seconds(1);

impl CachedKeys {
    /// What to do now.
    pub fn step(&self, now: Timestamp, limits: &Limits) -> Step {
        let may_fetch = self.failure.as_ref().is_none_or(|failure| now >= failure.retry(limits) || now < failure.at);
        let Some(held) = &self.held else {
            return if may_fetch { Step::Fetch } else { Step::Unavailable };
        };
        let life = held.life.min(limits.ttl);
        let max_stale = limits.max_stale.max(life);
        // A clock that was set back makes the age unknown: the set counts as expired, and a set from further ahead
        // than it may be stale does not serve.
        let expired = now >= held.fetched + life || now < held.fetched;
        let due = now >= held.fetched + life.scaled(4, 5);
        let servable = now < held.fetched + max_stale && held.fetched < now + max_stale;
        match (expired, servable) {
            (false, _) if due && may_fetch => Step::UseAndRefresh(held.keys.clone()),
            (false, _) => Step::Use(held.keys.clone()),
            (true, _) if may_fetch => Step::Fetch,
            (true, true) => Step::Use(held.keys.clone()),
            (true, false) => Step::Unavailable,
        }
    }

    /// Whether a token whose key is unknown may cause a fetch now. A yes starts the cooldown.
    pub fn may_fetch_for_unknown_key(&mut self, now: Timestamp, limits: &Limits) -> bool {
        let early = |since: Timestamp, wait: Span| now >= since && now < since + wait;
        if self.last_miss.is_some_and(|last| early(last, limits.cooldown)) {
            return false;
        }
        self.last_miss = Some(now);
        true
    }

    /// A fetch brought these keys. `max_age` is what `Cache-Control` said, if anything.
    pub fn fetched(&mut self, keys: Arc<KeySet>, max_age: Option<Span>, now: Timestamp, limits: &Limits) {
        let life = max_age.map_or(limits.ttl, |age| age.max(Span::from_seconds(MIN_KEY_LIFE_SECONDS)));
        self.held = Some(Held { keys, fetched: now, life });
        self.failure = None;
    }

    /// A fetch failed. The keys that are held stay.
    pub fn failed(&mut self, error: String, now: Timestamp) {
        let count = self.failure.as_ref().map_or(1, |failure| failure.count.saturating_add(1));
        self.failure = Some(Failure { count, at: now, error });
    }

    /// Takes over keys that were fetched before, by an earlier process.
    pub fn restored(&mut self, keys: Arc<KeySet>, fetched: Timestamp, life: Span) {
        self.held = Some(Held { keys, fetched, life });
    }

    /// When to fetch without being asked: at once without keys, at 80 % of their life with them, later after failures.
    /// Up to 5 % of the life are taken off, by the microsecond of the fetch, so that servers do not keep step.
    pub fn due(&self, limits: &Limits) -> Timestamp {
        let refresh = self.held.as_ref().map_or(Timestamp::from_micros(0), |held| {
            let life = held.life.min(limits.ttl);
            held.fetched + life.scaled(4, 5) - life.scaled(held.fetched.micros() % 1000, 20_000)
        });
        self.failure.as_ref().map_or(refresh, |failure| refresh.max(failure.retry(limits)))
    }

    /// The same for a process that also fetches when it is asked to, and last did at `attempted`: at once where it never
    /// did, or where the clock was set back since, for then nothing else is known; after that with the cooldown between
    /// attempts, until keys of this clock are there.
    pub fn due_after(&self, attempted: Option<Timestamp>, now: Timestamp, limits: &Limits) -> Timestamp {
        match attempted {
            Some(attempted) if attempted <= now => match self.fetched_at() {
                Some(fetched) if fetched > now => attempted + limits.cooldown,
                _ => self.due(limits),
            },
            _ => now,
        }
    }

    /// Whether there are keys that have not expired. Those from ahead of the present have.
    pub fn is_fresh(&self, now: Timestamp, limits: &Limits) -> bool {
        let fetched = self.fetched_at().is_some_and(|fetched| fetched <= now);
        fetched && self.expires(limits).is_some_and(|expires| now < expires)
    }

    /// The keys that are held, fresh or not.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.held.as_ref().map(|held| held.keys.clone())
    }

    /// When the keys that are held were fetched.
    pub fn fetched_at(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.fetched)
    }

    /// How long the keys that are held are fresh.
    pub fn life(&self, limits: &Limits) -> Option<Span> {
        self.held.as_ref().map(|held| held.life.min(limits.ttl))
    }

    /// When the keys that are held are no longer fresh.
    pub fn expires(&self, limits: &Limits) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.fetched + held.life.min(limits.ttl))
    }

    /// Why the last fetch failed, where it did.
    pub fn last_error(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.error.as_str())
    }
}

impl Failure {
    fn retry(&self, limits: &Limits) -> Timestamp {
        let doublings = (self.count - 1).min(16);
        let wait = FIRST_RETRY.times(1 << doublings).min(limits.cooldown);
        self.at + wait - wait.scaled(self.at.micros() % 1000, 5_000)
    }
}
