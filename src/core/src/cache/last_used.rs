//! When the slots of a cache that processes share were last used, and which of them can be given away. The clock can
//! be set back while the cache lives, and the times in it are then from ahead of the present.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::{Span, Timestamp};

/// When a slot was last used. Processes read and write it without a lock; nothing else depends on its order.
#[derive(Debug)]
#[repr(transparent)]
pub struct LastUsed(AtomicI64);

impl LastUsed {
    /// Of a slot that was never used.
    pub const fn never() -> Self {
        Self(AtomicI64::new(0))
    }

    /// When that was.
    pub fn moment(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// The slot is used now. A second more or less does not matter, and saves the cache line of other processes.
    pub fn touch(&self, now: Timestamp) {
        let last = self.moment();
        if last > now || now.since(last) >= Span::from_seconds(1) {
            self.set(now);
        }
    }

    /// The slot is used from this moment on, by somebody else than before.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::Relaxed);
    }

    /// A use from ahead of the present counts as one now: the clock was set back.
    pub fn bound(&self, now: Timestamp) {
        self.0.fetch_min(now.micros(), Ordering::Relaxed);
    }

    /// Nobody uses the slot any more.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Which slot can be given away: the one that was not used for the longest time, if that is longer than `unused`. A slot
/// whose last use is ahead of the present counts as used.
pub fn reusable<'a>(slots: impl IntoIterator<Item = &'a LastUsed>, unused: Span, now: Timestamp) -> Option<usize> {
    let moments = slots.into_iter().map(LastUsed::moment).enumerate();
    moments.min_by_key(|(_, used)| *used).filter(|(_, used)| *used < now - unused).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNUSED: Span = Span::from_seconds(600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    fn used(seconds: i64) -> LastUsed {
        LastUsed(AtomicI64::new(at(seconds).micros()))
    }

    #[test]
    fn a_use_is_noted_once_a_second_and_after_the_clock_was_set_back() {
        for (now, noted) in [(0, false), (1, true), (600, true), (-1, true), (-86_400, true)] {
            let slot = used(0);
            let moment = Timestamp::from_micros(at(now).micros() + i64::from(now == 0));
            slot.touch(moment);
            assert_eq!(slot.moment() == moment, noted, "{now}");
        }
    }

    #[test]
    fn a_use_from_ahead_of_the_present_counts_as_one_now() {
        for (now, expected) in [(-10, -10), (0, 0), (10, 0)] {
            let slot = used(0);
            slot.bound(at(now));
            assert_eq!(slot.moment(), at(expected), "{now}");
        }
    }

    #[test]
    fn the_slot_that_was_not_used_for_the_longest_time_is_given_away() {
        let slots = [used(50), used(10), used(20)];
        assert_eq!(reusable(&slots, UNUSED, at(10 + 600)), None, "used ten minutes ago, and not longer");
        assert_eq!(reusable(&slots, UNUSED, at(10 + 601)), Some(1));
        assert_eq!(reusable(&slots, UNUSED, at(5000)), Some(1));
        assert_eq!(reusable(&[], UNUSED, at(5000)), None);
    }

    #[test]
    fn a_slot_that_nobody_uses_any_more_is_given_away_first() {
        let slots = [used(-5000), used(0)];
        slots[1].forget();
        assert_eq!(reusable(&slots, UNUSED, at(0)), Some(1));
    }

    #[test]
    fn a_slot_that_was_used_before_the_clock_was_set_back_is_in_use() {
        assert_eq!(reusable(&[used(0), used(10)], UNUSED, at(-86_400)), None);
        assert_eq!(reusable(&[used(0), used(-90_000)], UNUSED, at(-86_400)), Some(1));
    }
}
