//! The key cache of the cluster: one slot of shared memory for each origin, and their key documents.
//!
//! Slots go to other origins when they are needed, so a slot is known by its index and its tenancy, and everything that
//! is said of a slot is said of one tenancy. Nothing that can raise is called under the lock; a Rust panic releases it.

mod memory;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use pg_jwks_core::cache::shared_cache::{self, Times};
use pg_jwks_core::time::{Span, Timestamp};
use pgrx::pg_sys;

use memory::{Guarded, MAX_DESCRIPTOR, MAX_SLOTS, Slot};
pub use memory::{request, startup};

/// A backend that waits looks this often whether there is a worker.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The use of a slot for one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    index: usize,
    tenancy: u64,
}

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Any keys.
    Keys,
    /// Newer keys than those that are there, subject to the cooldown.
    Newer,
    /// Newer keys, at once.
    Now,
}

/// What a slot says of its origin.
#[derive(Clone, Debug)]
pub struct State {
    /// Changes with the document; 0 where there is none.
    pub serial: u64,
    /// When the document was fetched, in microseconds since the Unix epoch.
    pub fetched: i64,
    /// How long it is fresh, in microseconds.
    pub life: i64,
    /// When a fetch was last begun.
    pub attempted: i64,
    /// When the next fetch is due.
    pub due: i64,
    /// Until then unknown keys cause no fetch.
    pub quiet_until: i64,
    /// Why the last fetch failed; empty where it did not.
    pub error: String,
}

/// A request that the worker has not answered.
pub struct Request {
    /// Its number.
    pub number: u64,
    /// What the requests up to it are about.
    pub want: Want,
}

/// How publishing a document went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is there.
    Yes,
    /// It does not fit.
    TooLarge,
    /// The slot is another origin's.
    Gone,
}

/// The shared memory, where the library is preloaded.
#[derive(Clone, Copy)]
pub struct Shared(());

/// The shared memory; `None` where the library is not preloaded.
pub fn shared() -> Option<Shared> {
    (!memory::pointer().is_null()).then_some(Shared(()))
}

impl Shared {
    /// Counts everything that may interest a backend.
    pub fn generation(self) -> u64 {
        // SAFETY: the memory is there (`shared`), and this part of it is atomic.
        unsafe { (*memory::pointer()).generation.load(Ordering::Acquire) }
    }

    /// Notes that a slot is in use. Where that is no news it saves the cache line of others.
    pub fn touch(self, id: SlotId, now: Timestamp) {
        let last_used = last_used(id.index);
        if shared_cache::is_news(Timestamp::from_micros(last_used.load(Ordering::Relaxed)), now) {
            last_used.store(now.micros(), Ordering::Relaxed);
        }
    }

    /// Notes that a slot was not used after this moment: where the clock was set back it is as if it was used now.
    pub fn bound_use(self, id: SlotId, now: Timestamp) {
        last_used(id.index).fetch_min(now.micros(), Ordering::Relaxed);
    }

    /// Forgets that a slot was in use.
    pub fn forget_use(self, id: SlotId) {
        last_used(id.index).store(0, Ordering::Relaxed);
    }

    /// When a slot was last in use.
    pub fn last_used(self, id: SlotId) -> i64 {
        last_used(id.index).load(Ordering::Relaxed)
    }

    /// The slot of an origin. A new one takes a free slot, or the one that was not used for the longest time, where
    /// that is longer than `unused`. `None` where there is none, or the descriptor is too long.
    pub fn slot(self, descriptor: &str, unused: Span, now: Timestamp) -> Option<SlotId> {
        if descriptor.len() > MAX_DESCRIPTOR {
            return None;
        }
        if let Some(id) = memory::read(|guarded, _| guarded.slot_of(descriptor)) {
            return Some(id);
        }
        let id = memory::write(|guarded, _| {
            // Somebody else may have been faster.
            guarded.slot_of(descriptor).or_else(|| guarded.give(descriptor, unused, now))
        })?;
        // Whoever waited for the former origin of the slot looks for a new one.
        broadcast();
        Some(id)
    }

    /// All slots in use, and their descriptors.
    pub fn slots(self) -> Vec<(SlotId, String)> {
        memory::read(|guarded, _| {
            let slots = guarded.slots.iter().enumerate().filter(|(_, slot)| slot.tenancy != 0);
            slots.map(|(index, slot)| (SlotId { index, tenancy: slot.tenancy }, slot.descriptor.text())).collect()
        })
    }

    /// What a slot says, and its document where that is not the one of serial `known`. `None` where the slot is
    /// another origin's.
    pub fn state(self, id: SlotId, known: u64) -> Option<(State, Option<Vec<u8>>)> {
        memory::read(|guarded, arena| {
            let slot = guarded.of(id)?;
            let news = slot.serial != 0 && slot.serial != known;
            let document = news.then(|| arena[slot.offset..slot.offset + slot.length].to_vec());
            Some((State::of(slot), document))
        })
    }

    /// Asks the worker for keys; returns the request's number. `None` where the slot is another origin's.
    pub fn want(self, id: SlotId, want: Want) -> Option<u64> {
        let number = memory::write(|guarded, _| {
            let slot = guarded.of_mut(id)?;
            slot.wanted += 1;
            match want {
                Want::Keys => {}
                Want::Newer => slot.wanted_newer = slot.wanted,
                Want::Now => slot.wanted_now = slot.wanted,
            }
            Some(slot.wanted)
        })?;
        let latch = self.worker();
        if !latch.is_null() {
            // SAFETY: the latch is that of a PGPROC, which is in shared memory for good. Where it has gone to another
            // process meanwhile, that process wakes up in vain, for which every process is prepared.
            unsafe { pg_sys::SetLatch(latch) };
        }
        Some(number)
    }

    /// The latch that wakes the worker; NULL while there is no worker.
    fn worker(self) -> *mut pg_sys::Latch {
        // SAFETY: as above.
        unsafe { (*memory::pointer()).worker.load(Ordering::Acquire) }
    }

    /// Waits until the worker has answered a request or the slot has gone to another origin; false where neither
    /// happened in time. Raises where the wait is cancelled.
    pub fn wait(self, id: SlotId, number: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let event = wait_event();
        // SAFETY: the condition variable is initialised and stays. A raised error ends the sleep (AbortTransaction).
        unsafe {
            let condition = &raw mut (*memory::pointer()).answered;
            // Before the first look, so that no answer goes unnoticed.
            pg_sys::ConditionVariablePrepareToSleep(condition);
            let answered = loop {
                if memory::read(|guarded, _| guarded.of(id).is_none_or(|slot| slot.answered >= number)) {
                    break true;
                }
                let left = deadline.saturating_duration_since(Instant::now()).min(LOOK_AROUND).as_millis();
                if left == 0 {
                    break false;
                }
                pg_sys::ConditionVariableTimedSleep(condition, i64::try_from(left).unwrap_or(i64::MAX), event);
                if self.worker().is_null() {
                    hurry_postmaster();
                }
            };
            pg_sys::ConditionVariableCancelSleep();
            answered
        }
    }

    // What follows is for the worker.

    /// Names the latch that wakes the worker; NULL where it ends.
    pub fn set_worker(self, latch: *mut pg_sys::Latch) {
        // SAFETY: as above.
        unsafe { (*memory::pointer()).worker.store(latch, Ordering::Release) };
    }

    /// The newest request for a slot that is not answered.
    pub fn open_request(self, id: SlotId) -> Option<Request> {
        memory::read(|guarded, _| {
            let slot = guarded.of(id).filter(|slot| slot.wanted > slot.answered)?;
            let want = match slot.answered {
                answered if slot.wanted_now > answered => Want::Now,
                answered if slot.wanted_newer > answered => Want::Newer,
                _ => Want::Keys,
            };
            Some(Request { number: slot.wanted, want })
        })
    }

    /// Answers all requests up to a number.
    pub fn answer(self, id: SlotId, number: u64) {
        memory::write(|guarded, _| {
            if let Some(slot) = guarded.of_mut(id) {
                slot.answered = slot.answered.max(number);
            }
        });
        broadcast();
    }

    /// Notes how things stand with an origin.
    pub fn note(self, id: SlotId, attempted: i64, due: i64, quiet_until: i64, error: &str) {
        memory::write(|guarded, _| {
            if let Some(slot) = guarded.of_mut(id) {
                (slot.attempted, slot.due, slot.quiet_until) = (attempted, due, quiet_until);
                slot.error.set(error);
                next_generation();
            }
        });
    }

    /// Publishes a key document. The serial changes only where the document does.
    pub fn publish(self, id: SlotId, document: &[u8], fetched: i64, life: i64) -> Published {
        memory::write(|guarded, arena| {
            let Some(slot) = guarded.of(id) else { return Published::Gone };
            let same = slot.serial != 0 && arena[slot.offset..slot.offset + slot.length] == *document;
            if !same && !guarded.store(id.index, arena, document) {
                return Published::TooLarge;
            }
            let slot = &mut guarded.slots[id.index];
            (slot.fetched, slot.life) = (fetched, life);
            let generation = next_generation();
            if !same {
                slot.serial = generation;
            }
            Published::Yes
        })
    }
}

impl State {
    /// Its times.
    pub fn times(&self) -> Times {
        Times {
            fetched: Timestamp::from_micros(self.fetched),
            life: Span::from_micros(self.life),
            attempted: Timestamp::from_micros(self.attempted),
            due: Timestamp::from_micros(self.due),
            quiet_until: Timestamp::from_micros(self.quiet_until),
        }
    }

    fn of(slot: &Slot) -> Self {
        Self {
            serial: slot.serial,
            fetched: slot.fetched,
            life: slot.life,
            attempted: slot.attempted,
            due: slot.due,
            quiet_until: slot.quiet_until,
            error: slot.error.text(),
        }
    }
}

impl Guarded {
    fn of(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(id.index).filter(|slot| slot.tenancy == id.tenancy)
    }

    fn of_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index).filter(|slot| slot.tenancy == id.tenancy)
    }

    fn slot_of(&self, descriptor: &str) -> Option<SlotId> {
        let bytes = descriptor.as_bytes();
        let index = self.slots.iter().position(|slot| slot.tenancy != 0 && slot.descriptor.bytes() == bytes)?;
        Some(SlotId { index, tenancy: self.slots[index].tenancy })
    }

    /// Gives a slot to an origin.
    fn give(&mut self, descriptor: &str, unused: Span, now: Timestamp) -> Option<SlotId> {
        let free = self.slots.iter().position(|slot| slot.tenancy == 0);
        let uses = || (0..MAX_SLOTS).map(|index| Timestamp::from_micros(last_used(index).load(Ordering::Relaxed)));
        let index = free.or_else(|| shared_cache::reusable(uses(), unused, now))?;
        self.tenancies += 1;
        let slot = &mut self.slots[index];
        slot.tenancy = self.tenancies;
        slot.descriptor.set(descriptor);
        (slot.serial, slot.offset, slot.length, slot.fetched, slot.life) = (0, 0, 0, 0, 0);
        (slot.attempted, slot.due, slot.quiet_until) = (0, 0, 0);
        slot.error.set("");
        (slot.wanted, slot.wanted_newer, slot.wanted_now, slot.answered) = (0, 0, 0, 0);
        last_used(index).store(now.micros(), Ordering::Relaxed);
        next_generation();
        Some(SlotId { index, tenancy: self.tenancies })
    }

    /// Replaces the document of a slot; false where it does not fit, and then the former one stays.
    fn store(&mut self, index: usize, arena: &mut [u8], document: &[u8]) -> bool {
        let others: usize = self.slots.iter().map(|slot| slot.length).sum::<usize>() - self.slots[index].length;
        if others + document.len() > arena.len() {
            return false;
        }
        (self.slots[index].serial, self.slots[index].length) = (0, 0);
        self.compact(arena);
        let start = self.arena_used;
        arena[start..start + document.len()].copy_from_slice(document);
        self.arena_used += document.len();
        (self.slots[index].offset, self.slots[index].length) = (start, document.len());
        true
    }

    /// Moves the documents to the start of the arena, in their order.
    fn compact(&mut self, arena: &mut [u8]) {
        let mut order: [usize; MAX_SLOTS] = std::array::from_fn(|index| index);
        order.sort_unstable_by_key(|index| self.slots[*index].offset);
        let mut used = 0;
        for slot in order {
            let slot = &mut self.slots[slot];
            if slot.length > 0 {
                arena.copy_within(slot.offset..slot.offset + slot.length, used);
                slot.offset = used;
                used += slot.length;
            }
        }
        self.arena_used = used;
    }
}

fn last_used(index: usize) -> &'static AtomicI64 {
    // SAFETY: the memory is there (`shared`) as long as the process, and this part of it is atomic.
    unsafe { &(&(*memory::pointer()).last_used)[index] }
}

/// Called under the lock, so that whoever sees the new generation and then takes the lock sees what changed.
fn next_generation() -> u64 {
    // SAFETY: as above.
    unsafe { (*memory::pointer()).generation.fetch_add(1, Ordering::Release) + 1 }
}

fn broadcast() {
    // SAFETY: the condition variable is initialised.
    unsafe { pg_sys::ConditionVariableBroadcast(&raw mut (*memory::pointer()).answered) };
}

/// Makes the postmaster look whether it should start the worker again. Before PostgreSQL 16 it may sleep for a minute
/// first: where the death of the worker is reported just before it goes to sleep, it does so with a timeout from before
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
        thread_local! {
            static EVENT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
        }
        if EVENT.get() == 0 {
            // SAFETY: the name is a literal; the same name gives the same event.
            EVENT.set(unsafe { pg_sys::WaitEventExtensionNew(c"PgJwksKeys".as_ptr()) });
        }
        EVENT.get()
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    pg_sys::PG_WAIT_EXTENSION
}
