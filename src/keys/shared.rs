//! The key cache of the cluster: one slot of shared memory for each source, and their key documents.
//!
//! Slots go to other sources when they are needed, so a slot is known by its index and its incarnation, and everything
//! that is said of a slot is said of one incarnation. Nothing that can raise is called under the lock; a Rust panic
//! releases it.

mod memory;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pg_jwks_core::cache::freshness::Freshness;
use pg_jwks_core::cache::last_used::LastUsed;
use pg_jwks_core::cache::slots::{Contents, Owner, Published, SlotId};
use pg_jwks_core::cache::worker_plan::{Request, Want};
use pg_jwks_core::time::{Span, Timestamp};
use pgrx::pg_sys;

pub use memory::AREA;
use memory::Memory;

/// A backend that waits looks this often whether there is a worker.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The shared memory of a cluster whose library is preloaded.
#[derive(Clone, Copy)]
pub struct Shared(&'static Memory);

/// The shared memory; `None` if the library is not preloaded.
pub fn shared() -> Option<Shared> {
    memory::memory().map(Shared)
}

impl Shared {
    /// Counts everything that may interest a backend.
    pub fn generation(self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// When a slot was last used.
    pub fn last_used(self, id: SlotId) -> &'static LastUsed {
        &self.0.last_used()[id.index()]
    }

    /// The slot of a source. A new one takes a free slot, or the one that was not used for the longest time, if that is
    /// longer than `unused`, or one of a database that has more than the owner. `None` if there is none, or the descriptor
    /// is too long.
    pub fn slot(self, descriptor: &str, owner: Owner, unused: Span, now: Timestamp) -> Option<SlotId> {
        if let Some(id) = self.0.read(|slots, _| slots.find_for(descriptor, owner)) {
            return Some(id);
        }
        let id = self.0.write(|slots, _| {
            // Somebody else may have been faster.
            if let Some(found) = slots.find(descriptor) {
                slots.claim(found, owner);
                return Some(found);
            }
            let given = slots.give(descriptor, owner, self.0.last_used(), unused, now)?;
            self.next_generation();
            Some(given)
        })?;
        // Whoever waited for the former source of the slot looks for a new one.
        self.broadcast();
        Some(id)
    }

    /// All slots in use, and their descriptors.
    pub fn slots(self) -> Vec<(SlotId, String)> {
        self.0.read(|slots, _| slots.in_use())
    }

    /// What a slot says, and its document unless that is the one of serial `known`. `None` if the slot is another
    /// source's.
    pub fn contents(self, id: SlotId, known: u64) -> Option<(Contents, Option<Vec<u8>>)> {
        self.0.read(|slots, arena| {
            let slot = slots.of(id)?;
            Some((slot.contents(), slot.document(arena, known).map(<[u8]>::to_vec)))
        })
    }

    /// Asks the worker for keys; returns the request's number. `None` if the slot is another source's.
    pub fn want(self, id: SlotId, want: Want) -> Option<u64> {
        let number = self.0.write(|slots, _| slots.of_mut(id).map(|slot| slot.want(want)))?;
        let latch = self.worker();
        if !latch.is_null() {
            // SAFETY: the latch is that of a PGPROC, which is in shared memory for good. If it has gone to another
            // process meanwhile, that process wakes up in vain, for which every process is prepared.
            unsafe { pg_sys::SetLatch(latch) };
        }
        Some(number)
    }

    /// The latch that wakes the worker; NULL while there is no worker.
    fn worker(self) -> *mut pg_sys::Latch {
        self.0.worker.load(Ordering::Acquire)
    }

    /// Waits until the worker has answered a request or the slot has gone to another source; false if neither happened
    /// in time. Raises if the wait is cancelled.
    pub fn wait(self, id: SlotId, number: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let event = wait_event();
        let condition = self.0.answered.get();
        let is_answered = || self.0.read(|slots, _| slots.of(id).is_none_or(|slot| slot.has_answered(number)));
        // Before the first look, so that no answer goes unnoticed.
        // SAFETY: the condition variable was initialised with the memory and stays. If an error is raised, the end of
        // the transaction cancels the sleep (AbortTransaction).
        unsafe { pg_sys::ConditionVariablePrepareToSleep(condition) };
        let answered = loop {
            if is_answered() {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(LOOK_AROUND).as_millis();
            if left == 0 {
                break false;
            }
            let millis = i64::try_from(left).unwrap_or(i64::MAX);
            // SAFETY: this process is prepared to sleep on this condition variable, and on no other.
            unsafe { pg_sys::ConditionVariableTimedSleep(condition, millis, event) };
            if self.worker().is_null() {
                hurry_postmaster();
            }
        };
        // SAFETY: ends the sleep that was prepared here, if it has not ended yet.
        unsafe { pg_sys::ConditionVariableCancelSleep() };
        answered
    }

    // What follows is for the worker.

    /// Names the latch that wakes the worker; NULL when it ends.
    pub fn set_worker(self, latch: *mut pg_sys::Latch) {
        self.0.worker.store(latch, Ordering::Release);
    }

    /// The state of a source's keys, and the newest request for them that is not answered. `None` if the slot is
    /// another source's.
    pub fn state(self, id: SlotId) -> Option<(Freshness, Option<Request>)> {
        self.0.read(|slots, _| slots.of(id).map(|slot| (slot.freshness(), slot.open_request())))
    }

    /// Answers all requests up to a number.
    pub fn answer(self, id: SlotId, number: u64) {
        self.0.write(|slots, _| {
            if let Some(slot) = slots.of_mut(id) {
                slot.answer(number);
            }
        });
        self.broadcast();
    }

    /// Notes the state of a source's keys, and why the last fetch failed.
    pub fn note(self, id: SlotId, freshness: Freshness, error: &str) {
        self.0.write(|slots, _| {
            if let Some(slot) = slots.of_mut(id) {
                slot.note(freshness, Some(error));
                self.next_generation();
            }
        });
    }

    /// Publishes a key document and its state. The serial changes only if the document does.
    pub fn publish(self, id: SlotId, document: &[u8], freshness: Freshness) -> Published {
        self.0.write(|slots, arena| slots.publish(id, arena, document, freshness, || self.next_generation()))
    }

    /// Called under the lock, so that whoever sees the new generation and then takes the lock sees what changed.
    fn next_generation(self) -> u64 {
        self.0.generation.fetch_add(1, Ordering::Release) + 1
    }

    fn broadcast(self) {
        // SAFETY: the condition variable was initialised with the memory and stays.
        unsafe { pg_sys::ConditionVariableBroadcast(self.0.answered.get()) };
    }
}

/// Makes the postmaster look whether it should start the worker again. Before PostgreSQL 16 it may sleep for a minute
/// first: if the death of the worker is reported just before it goes to sleep, it does so with a timeout from before
/// (ServerLoop). Without a reason that a process has noted, SIGUSR1 does no more than to wake it.
fn hurry_postmaster() {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: kill takes no pointers. The postmaster lives, or this process would not have come back from its wait.
    unsafe {
        libc::kill(pg_sys::PostmasterPid, libc::SIGUSR1);
    }
}

/// The wait event of a backend that waits for keys of the worker; it has a name from PostgreSQL 17 on.
fn wait_event() -> u32 {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        static EVENT: once_cell::sync::OnceCell<u32> = once_cell::sync::OnceCell::new();
        // SAFETY: the name is a literal; the same name gives the same event in every process.
        *EVENT.get_or_init(|| unsafe { pg_sys::WaitEventExtensionNew(c"PgJwksKeys".as_ptr()) })
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    pg_sys::PG_WAIT_EXTENSION
}
