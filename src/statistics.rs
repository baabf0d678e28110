//! What `auth.jwt_stats` counts: for the cluster where the library is preloaded, otherwise for this backend.

use std::sync::atomic::{AtomicU64, Ordering};

use pg_jwks_core::rejection::Reason;

use crate::keys::shared;

/// Counters. All-zero bytes are a valid value.
#[repr(C)]
pub struct Counters {
    /// Tokens that became an identity.
    pub accepted: AtomicU64,
    /// Those of them that were verified before and remembered.
    pub remembered: AtomicU64,
    /// Fetches of keys.
    pub fetches: AtomicU64,
    /// Fetches that failed.
    pub fetch_failures: AtomicU64,
    /// Audit lines of rejections that were left out.
    pub unlogged: AtomicU64,
    /// The second of the audit log's present allowance, and the lines written in it.
    pub audit_window: AtomicU64,
    /// See `audit_window`.
    pub audit_lines: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
}

static OWN: Counters = Counters {
    accepted: AtomicU64::new(0),
    remembered: AtomicU64::new(0),
    fetches: AtomicU64::new(0),
    fetch_failures: AtomicU64::new(0),
    unlogged: AtomicU64::new(0),
    audit_window: AtomicU64::new(0),
    audit_lines: AtomicU64::new(0),
    rejected: [const { AtomicU64::new(0) }; Reason::ALL.len()],
};

/// The counters in use.
pub fn counters() -> &'static Counters {
    match shared() {
        Some(shared) => shared.counters(),
        None => &OWN,
    }
}

impl Counters {
    /// Counts a rejection.
    pub fn count_rejected(&self, reason: Reason) {
        count(&self.rejected[reason as usize]);
    }

    /// How many tokens were rejected for each reason.
    pub fn rejected(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().map(|reason| (*reason, read(&self.rejected[*reason as usize])))
    }
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The present value.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
