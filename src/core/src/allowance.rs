//! How many lines about rejections the log gets: so many a second for each user and reason, so that a flood neither fills
//! the disk nor hides what others do.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::rejection::Reason;
use crate::time::Timestamp;

/// Lines in one second about rejections of one user for one reason.
pub const LINES_PER_SECOND: u64 = 10;

/// Users and reasons with an allowance of their own in the same second. All others share one.
const ALLOWANCES: usize = 1024;

/// Places that an allowance can have, so that finding one takes a bounded time.
const PROBES: usize = 8;

/// The allowances of all users, shared by the processes of a server. All-zero bytes are a valid value. Processes that
/// count at the same moment may give a line too many, and never block each other.
#[repr(C)]
pub struct Allowances {
    own: [Allowance; ALLOWANCES],
    shared: Allowance,
}

#[repr(C)]
struct Allowance {
    /// The user and the reason; 0 in a place that has not been used.
    whose: AtomicU64,
    second: AtomicU64,
    taken: AtomicU64,
    left_out: AtomicU64,
}

impl Allowances {
    /// Allowances that nobody has used.
    #[must_use]
    pub const fn new() -> Self {
        Self { own: [const { Allowance::new() }; ALLOWANCES], shared: Allowance::new() }
    }

    /// Takes a line for this rejection of the user with this number: how many were left out since the last one, or
    /// `None` if there is none left in this second.
    pub fn take(&self, user: u32, reason: Reason, now: Timestamp) -> Option<u64> {
        let second = now.micros().unsigned_abs() / 1_000_000;
        let allowance = self.of(user, reason, second);
        let left_out = allowance.take(second)?;
        Some(left_out + self.shared.left_out.swap(0, Relaxed))
    }

    /// The allowance of this user and reason, in place of one that is not of this second if they have none yet.
    fn of(&self, user: u32, reason: Reason, second: u64) -> &Allowance {
        let whose = (u64::from(user) << 32) | (reason as u64 + 1);
        // Fibonacci hashing: the upper bits depend on all.
        let start = (whose.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        let places = || (0..PROBES).map(|probe| &self.own[(start + probe) % ALLOWANCES]);
        if let Some(own) = places().find(|place| place.whose.load(Relaxed) == whose) {
            return own;
        }
        let free = |place: &&Allowance| {
            let former = place.whose.load(Relaxed);
            (former == 0 || place.second.load(Relaxed) != second)
                && place.whose.compare_exchange(former, whose, Relaxed, Relaxed).is_ok()
        };
        let Some(own) = places().find(free) else { return &self.shared };
        // What the former user is still to be told.
        self.shared.left_out.fetch_add(own.left_out.swap(0, Relaxed), Relaxed);
        own
    }
}

impl Default for Allowances {
    fn default() -> Self {
        Self::new()
    }
}

impl Allowance {
    const fn new() -> Self {
        Self {
            whose: AtomicU64::new(0),
            second: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    fn take(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Relaxed) != second {
            self.taken.store(0, Relaxed);
        }
        if self.taken.fetch_add(1, Relaxed) < LINES_PER_SECOND {
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}
