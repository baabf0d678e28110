//! When keys must be fetched, may be used, and must no longer be: one state machine for every place in which keys are
//! kept. The time is handed in; the keys themselves are kept beside the state.

use crate::bounds::MIN_KEY_LIFE_SECONDS;
use crate::time::{Span, Timestamp};

/// The settings that rule the life of key sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Upper bound of a set's life (`pg_jwks.jwks_cache_ttl`).
    pub ttl: Span,
    /// The longest wait between two fetches that unknown keys cause, and before a failed one is tried again
    /// (`pg_jwks.jwks_refresh_cooldown`).
    pub cooldown: Span,
    /// How long after its fetch a set serves while no newer one can be had (`pg_jwks.jwks_max_stale`).
    pub max_stale: Span,
}

/// Who fetches keys that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Whoever needs them.
    OnUse,
    /// A worker, without being asked.
    Unasked,
}

/// What to do for a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Use the keys.
    Use,
    /// Use the keys, and fetch newer ones meanwhile.
    UseAndRefresh,
    /// Fetch, and wait for it; then step again.
    Fetch,
    /// No keys, and nothing to wait for.
    Unavailable,
}

/// How the keys of one source stand. It has no pointers, so processes can share it.
///
/// The clock can be set back while this lives. Moments from ahead of the present are then those of another clock and
/// say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the keys were requested; `None` without keys.
    fetched: Option<Timestamp>,
    /// The life that the provider granted. The setting bounds it at each look, so that a lower one holds at once.
    life: Span,
    /// When the last fetch that has ended was begun or, if it failed, when it failed.
    tried: Option<Timestamp>,
    /// Failed fetches since the last one that succeeded.
    failures: u32,
    /// When an unknown key last caused a fetch.
    missed: Option<Timestamp>,
    /// How many fetches unknown keys have caused of late: each cooldown without one takes one off.
    misses: u32,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::NEW
    }
}

/// The first wait after a failed fetch, and after one for an unknown key. Each further one doubles it, up to the cooldown.
const FIRST_WAIT: Span = Span::from_seconds(1);

/// The wait after so many in a row.
fn backed_off(count: u32, limits: &Limits) -> Span {
    FIRST_WAIT.times(1 << count.saturating_sub(1).min(16)).min(limits.cooldown)
}

impl Freshness {
    /// Without keys, and before the first fetch.
    pub const NEW: Self = Self { fetched: None, life: Span::ZERO, tried: None, failures: 0, missed: None, misses: 0 };

    /// What to do now.
    pub fn step(&self, now: Timestamp, limits: &Limits, upkeep: Upkeep) -> Step {
        let fresh = self.is_fresh(now, limits);
        let waits = match upkeep {
            Upkeep::OnUse => !fresh,
            // The worker tries again by itself, so only its first attempt is worth a wait.
            Upkeep::Unasked => self
                .expires(limits)
                .is_none_or(|expires| now >= expires && self.tried.is_none_or(|tried| tried < expires)),
        };
        let due = now >= self.due(now, limits, upkeep);
        match upkeep {
            _ if due && waits => Step::Fetch,
            Upkeep::OnUse if due && fresh => Step::UseAndRefresh,
            _ if self.serves(now, limits) => Step::Use,
            _ => Step::Unavailable,
        }
    }

    /// When the next fetch is due: at once without keys, or if nothing was fetched since they were restored; at 80 % of
    /// their life with them; later after failures.
    ///
    /// Up to 5 % of the life are taken off, by the microsecond of the fetch, if nobody has to ask, so that servers do
    /// not keep step.
    pub fn due(&self, now: Timestamp, limits: &Limits, upkeep: Upkeep) -> Timestamp {
        let refresh = match (self.fetched, self.tried) {
            (Some(fetched), Some(_)) if fetched <= now => {
                let life = self.granted(limits);
                let early = match upkeep {
                    Upkeep::OnUse => Span::ZERO,
                    Upkeep::Unasked => life.scaled(fetched.micros() % 1000, 20_000),
                };
                fetched + life.scaled(4, 5) - early
            }
            _ => now,
        };
        match self.tried {
            Some(tried) if self.failures > 0 && tried <= now => refresh.max(self.retry(tried, limits)),
            _ => refresh,
        }
    }

    /// Whether there are keys that have not expired. Those from ahead of the present count as expired.
    pub fn is_fresh(&self, now: Timestamp, limits: &Limits) -> bool {
        self.fetched.is_some_and(|fetched| fetched <= now && now < fetched + self.granted(limits))
    }

    /// Whether there are keys that may be used. Those from further ahead than they may be stale may not.
    pub fn serves(&self, now: Timestamp, limits: &Limits) -> bool {
        let longest = self.longest_use(limits);
        self.fetched.is_some_and(|fetched| now < fetched + longest && fetched < now + longest)
    }

    /// When the keys will no longer be used if no newer ones can be had.
    pub fn serves_until(&self, limits: &Limits) -> Option<Timestamp> {
        self.fetched.map(|fetched| fetched + self.longest_use(limits))
    }

    /// Whether a token whose key is unknown may cause a fetch now: not within the wait after the last such fetch. A key can
    /// be used before it is published, so the first waits are short; a flood of unknown keys comes to the cooldown soon.
    pub fn may_fetch_for_unknown_key(&self, now: Timestamp, limits: &Limits) -> bool {
        self.rest_of_wait(now, limits).is_none()
    }

    fn rest_of_wait(&self, now: Timestamp, limits: &Limits) -> Option<Span> {
        let missed = self.missed?;
        let end = missed + backed_off(self.misses, limits);
        (missed..end).contains(&now).then(|| end.since(now))
    }

    /// A token whose key is unknown caused a fetch, after which the next has to wait.
    pub fn missed(&mut self, now: Timestamp, limits: &Limits) {
        let quiet = self.missed.map_or(Span::ZERO, |missed| now.since(missed));
        self.misses = self.misses.saturating_sub(quiet.whole(limits.cooldown)).saturating_add(1);
        self.missed = Some(now);
    }

    /// A fetch brought keys. They are as old as the request for them, which was begun at this moment. `max_age` is
    /// what `Cache-Control` said, if anything.
    pub fn fetched(&mut self, begun: Timestamp, max_age: Option<Span>, limits: &Limits) {
        self.fetched = Some(begun);
        self.life = max_age.map_or(limits.ttl, |age| age.max(Span::from_seconds(MIN_KEY_LIFE_SECONDS)));
        self.tried = Some(begun);
        self.failures = 0;
    }

    /// A fetch failed at this moment. The keys that are there stay.
    pub fn failed(&mut self, now: Timestamp) {
        self.tried = Some(now);
        self.failures = self.failures.saturating_add(1);
    }

    /// Takes over keys that an earlier server process fetched and stored. Newer ones are due at once.
    pub fn restored(&mut self, fetched: Timestamp, life: Span) {
        self.fetched = Some(fetched);
        self.life = life;
    }

    /// When the keys were fetched.
    pub fn fetched_at(&self) -> Option<Timestamp> {
        self.fetched
    }

    /// How long the keys are fresh.
    pub fn life(&self, limits: &Limits) -> Option<Span> {
        self.fetched.map(|_| self.granted(limits))
    }

    /// When the keys are no longer fresh.
    pub fn expires(&self, limits: &Limits) -> Option<Timestamp> {
        self.fetched.map(|fetched| fetched + self.granted(limits))
    }

    /// Whether a fetch has ended, well or not.
    pub fn was_tried(&self) -> bool {
        self.tried.is_some()
    }

    /// Whether the last fetch failed.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Failed fetches since the last one that succeeded.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last failure is worth a line in the log: the first, the second, the fourth, and so on, so that a source
    /// that is gone for good does not fill it.
    pub fn is_notable_failure(&self) -> bool {
        self.failures.is_power_of_two()
    }

    /// When a fetch was last tried and when the next is, as a full sentence for those who wait for keys.
    pub fn last_and_next_try(&self, now: Timestamp, limits: &Limits, upkeep: Upkeep) -> String {
        let next = match self.due(now, limits, upkeep).since(now) {
            wait if wait > Span::ZERO => format!("the next is in {} at the latest", wait.in_whole_seconds()),
            _ => match upkeep {
                Upkeep::OnUse => "the next is made with the next token".to_owned(),
                Upkeep::Unasked => "the next is due now".to_owned(),
            },
        };
        match self.tried {
            Some(tried) => format!("The last try was {} ago; {next}.", now.since(tried).max(Span::ZERO)),
            None => format!("There was no try yet; {next}."),
        }
    }

    /// How old the keys are and when the issuer is asked again for a key that is not among them, as a full sentence.
    pub fn last_and_next_look(&self, now: Timestamp, limits: &Limits) -> Option<String> {
        let age = now.since(self.fetched?).max(Span::ZERO);
        let next = match self.rest_of_wait(now, limits) {
            Some(wait) => {
                format!("the issuer is asked again for unknown keys in {} at the earliest", wait.in_whole_seconds())
            }
            None => "the issuer is asked again at the next unknown key".to_owned(),
        };
        Some(format!("Its keys are {age} old; {next}."))
    }

    fn granted(&self, limits: &Limits) -> Span {
        self.life.min(limits.ttl)
    }

    fn longest_use(&self, limits: &Limits) -> Span {
        self.granted(limits).max(limits.max_stale)
    }

    fn retry(&self, failed: Timestamp, limits: &Limits) -> Timestamp {
        let wait = backed_off(self.failures, limits);
        // So that servers do not keep step.
        failed + wait - wait.scaled(failed.micros() % 1000, 5_000)
    }
}
