//! What `auth.jwt_stats` counts: for the cluster if the library is preloaded, otherwise for this backend.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use pg_jwks_core::allowance::Allowances;
use pg_jwks_core::rejection::Reason;

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
    /// Lines that the audit log may still have.
    pub allowances: Allowances,
    rejected: [AtomicU64; Reason::ALL.len()],
}

static OWN: Counters = Counters {
    accepted: AtomicU64::new(0),
    remembered: AtomicU64::new(0),
    fetches: AtomicU64::new(0),
    fetch_failures: AtomicU64::new(0),
    allowances: Allowances::new(),
    rejected: [const { AtomicU64::new(0) }; Reason::ALL.len()],
};

/// Those of the cluster; NULL if the library is not preloaded.
static SHARED: AtomicPtr<Counters> = AtomicPtr::new(ptr::null_mut());

/// Shares the counters among all processes; called in the postmaster. They are in a mapping of their own, because
/// PostgreSQL starts with new shared memory when a backend has crashed, and an operator wants to see what led there.
pub fn share() -> io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: an anonymous mapping has no other owner, stays for good, is aligned to a page, and is all zero, which is
    // a valid value.
    let mapped = unsafe {
        libc::mmap(ptr::null_mut(), size_of::<Counters>(), access, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    SHARED.store(mapped.cast(), Ordering::Relaxed);
    Ok(())
}

/// The counters in use.
pub fn counters() -> &'static Counters {
    // SAFETY: NULL, or the mapping of `share`, all of it atomic.
    unsafe { SHARED.load(Ordering::Relaxed).as_ref() }.unwrap_or(&OWN)
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
