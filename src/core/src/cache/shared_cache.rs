//! Decisions about the slots of a cache that processes share. The clock can be set while it lives, and the times in it
//! are then from ahead of the present.

use crate::cache::freshness::Limits;
use crate::time::{Span, Timestamp};

/// The times of a slot. Those that never came are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When its keys were fetched.
    pub fetched: Timestamp,
    /// How long they are fresh.
    pub life: Span,
    /// When a fetch was last begun.
    pub attempted: Timestamp,
    /// When the next one is due.
    pub due: Timestamp,
    /// Until then unknown keys cause no fetch.
    pub quiet_until: Timestamp,
}

impl Times {
    /// Whether there is something to wait for: no keys, or overdue ones, and a fetch that is due. What is due by an
    /// attempt from ahead of the present is due.
    pub fn need_fetch(&self, has_keys: bool, now: Timestamp) -> bool {
        let expires = self.fetched + self.life;
        let overdue = now >= expires && self.attempted < expires;
        (!has_keys || overdue) && (now >= self.due || self.attempted > now)
    }

    /// Whether the keys may still be used. Keys from further ahead than they may be stale are from before the clock was
    /// set back.
    pub fn are_servable(&self, limits: &Limits, now: Timestamp) -> bool {
        let limit = self.life.max(limits.max_stale);
        now < self.fetched + limit && self.fetched < now + limit
    }

    /// Whether an unknown key may cause no fetch yet. A pause that ends further ahead than the cooldown reaches is from
    /// before the clock was set back.
    pub fn are_quiet(&self, limits: &Limits, now: Timestamp) -> bool {
        now < self.quiet_until && self.quiet_until <= now + limits.cooldown
    }
}

/// Whether a use is worth noting: a second more or less does not matter.
pub fn is_news(last_used: Timestamp, now: Timestamp) -> bool {
    last_used > now || now.since(last_used) >= Span::from_seconds(1)
}

/// Which slot another origin can have: the one that was not used for the longest time, where that is `unused` or longer.
/// One whose last use is ahead of the present counts as used.
pub fn reusable(last_used: impl IntoIterator<Item = Timestamp>, unused: Span, now: Timestamp) -> Option<usize> {
    let oldest = last_used.into_iter().enumerate().min_by_key(|(_, used)| *used);
    oldest.filter(|(_, used)| *used < now - unused).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        ttl: Span::from_seconds(3600),
        cooldown: Span::from_seconds(30),
        max_stale: Span::from_seconds(86_400),
    };
    const UNUSED: Span = Span::from_seconds(600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    /// Fetched at 0, for an hour; the next fetch is due at 2800.
    fn times() -> Times {
        let never = Timestamp::from_micros(0);
        Times { fetched: at(0), life: LIMITS.ttl, attempted: at(0), due: at(2800), quiet_until: never }
    }

    #[test]
    fn a_backend_asks_where_keys_are_missing_or_overdue_and_a_fetch_is_due() {
        for (has_keys, now, expected) in
            [(true, 0, false), (true, 3599, false), (true, 3600, true), (false, 0, false), (false, 2800, true)]
        {
            assert_eq!(times().need_fetch(has_keys, at(now)), expected, "{has_keys} {now}");
        }
        // The worker has tried since, and will try again at 3700.
        let tried = Times { attempted: at(3650), due: at(3700), ..times() };
        assert!(!tried.need_fetch(true, at(3660)) && !tried.need_fetch(true, at(3701)));
        assert!(!tried.need_fetch(false, at(3660)) && tried.need_fetch(false, at(3700)));
    }

    #[test]
    fn a_backend_without_keys_asks_where_the_clock_was_set_back() {
        assert!(times().need_fetch(false, at(-1)));
        assert!(!times().need_fetch(true, at(-1)));
    }

    #[test]
    fn keys_serve_until_they_are_too_stale_in_either_direction() {
        for (now, expected) in [(0, true), (86_399, true), (86_400, false), (-86_399, true), (-86_400, false)] {
            assert_eq!(times().are_servable(&LIMITS, at(now)), expected, "{now}");
        }
        let long = Times { life: Span::from_seconds(100_000), ..times() };
        assert!(long.are_servable(&LIMITS, at(99_999)) && !long.are_servable(&LIMITS, at(100_000)));
    }

    #[test]
    fn a_pause_ends_and_one_of_another_clock_does_not_count() {
        let quiet = Times { quiet_until: at(30), ..times() };
        for (now, expected) in [(0, true), (29, true), (30, false), (-1, false), (-3600, false)] {
            assert_eq!(quiet.are_quiet(&LIMITS, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn a_use_is_noted_once_a_second_and_after_the_clock_was_set_back() {
        for (now, expected) in [(0, false), (1, true), (600, true), (-1, true), (-86_400, true)] {
            assert_eq!(is_news(at(0), at(now)), expected, "{now}");
        }
    }

    #[test]
    fn the_slot_that_was_not_used_for_the_longest_time_goes_to_another_origin() {
        let used = [at(50), at(10), at(20)];
        assert_eq!(reusable(used, UNUSED, at(10 + 600)), None, "used ten minutes ago, and not longer");
        assert_eq!(reusable(used, UNUSED, at(10 + 601)), Some(1));
        assert_eq!(reusable(used, UNUSED, at(5000)), Some(1));
        assert_eq!(reusable([], UNUSED, at(5000)), None);
    }

    #[test]
    fn a_slot_that_was_used_before_the_clock_was_set_back_is_in_use() {
        assert_eq!(reusable([at(0), at(10)], UNUSED, at(-86_400)), None);
        assert_eq!(reusable([at(0), at(-90_000)], UNUSED, at(-86_400)), Some(1));
    }
}
