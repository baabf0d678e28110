//! The shared memory of the key cache: one slot for each origin, and their key documents.
//!
//! All of it but the atomics is read and written under one lock, which is never held across anything that can raise.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

use crate::settings;
use crate::statistics::Counters;

/// Origins that one cluster can use at a time.
pub const MAX_SLOTS: usize = 64;

/// Bytes of a descriptor: a long URL and a long path.
const MAX_DESCRIPTOR: usize = 2048;

/// Bytes that are kept of an error.
const MAX_ERROR: usize = 512;

const NAME: &CStr = c"pg_jwks";

/// A text of bounded length.
#[repr(C)]
struct Text<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    fn set(&mut self, text: &str) {
        let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end;
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.length]).into_owned()
    }
}

#[repr(C)]
struct Slot {
    descriptor: Text<MAX_DESCRIPTOR>,
    /// The generation in which the document was published; 0 for none.
    serial: u64,
    offset: usize,
    length: usize,
    fetched: i64,
    life: i64,
    /// When a fetch was last begun, and when the next one is due.
    attempted: i64,
    due: i64,
    error: Text<MAX_ERROR>,
    /// Until then unknown keys cause no fetch.
    quiet_until: i64,
    /// The newest request, the newest one for newer keys than there are, the newest one that no cooldown holds up, and
    /// the newest one that the worker has answered.
    wanted: u64,
    wanted_newer: u64,
    wanted_now: u64,
    answered: u64,
}

#[repr(C)]
struct Memory {
    answered: pg_sys::ConditionVariable,
    worker: AtomicPtr<pg_sys::Latch>,
    generation: AtomicU64,
    counters: Counters,
    last_used: [AtomicI64; MAX_SLOTS],
    guarded: UnsafeCell<Guarded>,
}

/// What the lock guards. The arena, where the documents are, follows it.
#[repr(C)]
struct Guarded {
    slots: [Slot; MAX_SLOTS],
    arena_size: usize,
    arena_used: usize,
}

struct Pointers(Cell<*mut Memory>, Cell<*mut pg_sys::LWLock>);

// SAFETY: the pointers are set once, in the postmaster or at the start of a process, by its only thread that uses
// PostgreSQL's memory.
unsafe impl Sync for Pointers {}

static POINTERS: Pointers = Pointers(Cell::new(ptr::null_mut()), Cell::new(ptr::null_mut()));

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
    /// Whether it is for newer keys.
    pub newer: bool,
    /// Whether no cooldown holds it up.
    pub now: bool,
}

/// The shared memory, where the library is preloaded.
#[derive(Clone, Copy)]
pub struct Shared(&'static Pointers);

/// The shared memory; `None` where the library is not preloaded.
pub fn shared() -> Option<Shared> {
    (!POINTERS.0.get().is_null()).then_some(Shared(&POINTERS))
}

/// Bytes of shared memory.
pub fn size() -> usize {
    size_of::<Memory>() + settings::shared_cache_bytes()
}

/// Asks for shared memory; called while the postmaster loads the library.
pub fn request() {
    // SAFETY: called from the hook that PostgreSQL provides for this.
    unsafe {
        pg_sys::RequestAddinShmemSpace(size());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

/// Attaches to the shared memory, and initialises it in the postmaster; called from the startup hook.
pub fn startup() {
    let mut found = false;
    // SAFETY: the hook runs with AddinShmemInitLock free and once in a process; all-zero bytes are a valid Memory
    // (integers, null pointers and atomics) but for the condition variable, which is initialised.
    unsafe {
        let memory: *mut Memory = pg_sys::ShmemInitStruct(NAME.as_ptr(), size(), &mut found).cast();
        if !found {
            ptr::write_bytes(memory.cast::<u8>(), 0, size());
            pg_sys::ConditionVariableInit(&raw mut (*memory).answered);
            (*memory).guarded.get_mut().arena_size = settings::shared_cache_bytes();
        }
        POINTERS.0.set(memory);
        POINTERS.1.set(&raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock);
    }
}

/// Exclusive access; the lock is released when this goes.
struct Locked(&'static mut Guarded, *mut pg_sys::LWLock);

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: the lock is held.
        unsafe { pg_sys::LWLockRelease(self.1) };
    }
}

impl Locked {
    fn arena(&mut self) -> &mut [u8] {
        let start = (&raw mut *self.0).cast::<u8>();
        // SAFETY: `guarded` is the last field of the Memory, and the arena follows it in the same allocation (`size`).
        unsafe { std::slice::from_raw_parts_mut(start.add(size_of::<Guarded>()), self.0.arena_size) }
    }

    fn state(&self, slot: usize) -> State {
        let slot = &self.0.slots[slot];
        State {
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

impl Shared {
    fn memory(&self) -> &'static Memory {
        // SAFETY: `shared` has checked the pointer. All of it is atomic or in an UnsafeCell.
        unsafe { &*self.0.0.get() }
    }

    fn lock(&self) -> Locked {
        // SAFETY: the lock makes the access exclusive among processes, and in this one no two `Locked` live at once:
        // taking an LWLock twice would wait forever, and no function here does.
        unsafe {
            let lock = self.0.1.get();
            pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            Locked(&mut *self.memory().guarded.get(), lock)
        }
    }

    /// Counts everything that may interest a backend.
    pub fn generation(&self) -> u64 {
        self.memory().generation.load(Ordering::Acquire)
    }

    fn changed(&self) -> u64 {
        self.memory().generation.fetch_add(1, Ordering::Release) + 1
    }

    /// The counters of the cluster.
    pub fn counters(&self) -> &'static Counters {
        &self.memory().counters
    }

    /// Notes that a slot is in use.
    pub fn touch(&self, slot: usize, now: i64) {
        self.memory().last_used[slot].store(now, Ordering::Relaxed);
    }

    /// When a slot was last in use.
    pub fn last_used(&self, slot: usize) -> i64 {
        self.memory().last_used[slot].load(Ordering::Relaxed)
    }

    /// The slot of an origin. A new one takes a free slot, or the one that was not used for the longest time, where
    /// that was before `unused_since`. `None` where there is none, or the descriptor is too long.
    pub fn slot(&self, descriptor: &str, now: i64, unused_since: i64) -> Option<usize> {
        if descriptor.len() > MAX_DESCRIPTOR {
            return None;
        }
        let last_used = |slot: usize| self.memory().last_used[slot].load(Ordering::Relaxed);
        let locked = self.lock();
        let slots = &mut locked.0.slots;
        let bytes = descriptor.as_bytes();
        if let Some(found) = slots.iter().position(|slot| slot.descriptor.bytes[..slot.descriptor.length] == *bytes) {
            return Some(found);
        }
        let free = slots.iter().position(|slot| slot.descriptor.length == 0);
        let oldest =
            || (0..MAX_SLOTS).min_by_key(|slot| last_used(*slot)).filter(|slot| last_used(*slot) < unused_since);
        let index = free.or_else(oldest)?;
        let slot = &mut slots[index];
        slot.descriptor.set(descriptor);
        (slot.serial, slot.offset, slot.length, slot.fetched, slot.life) = (0, 0, 0, 0, 0);
        (slot.attempted, slot.due, slot.quiet_until) = (0, 0, 0);
        slot.error.set("");
        // Requests of the former origin are answered: whoever waits looks again.
        slot.answered = slot.wanted;
        self.touch(index, now);
        self.changed();
        Some(index)
    }

    /// All slots in use: index and descriptor.
    pub fn slots(&self) -> Vec<(usize, String)> {
        let locked = self.lock();
        let slots = locked.0.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.descriptor.length > 0)
            .map(|(index, slot)| (index, slot.descriptor.text()))
            .collect()
    }

    /// What a slot says, where it still is of this origin.
    pub fn state(&self, slot: usize, descriptor: &str) -> Option<State> {
        let locked = self.lock();
        (locked.0.slots[slot].descriptor.text() == descriptor).then(|| locked.state(slot))
    }

    /// The key document of a slot; empty where there is none.
    pub fn document(&self, slot: usize) -> (u64, Vec<u8>) {
        let mut locked = self.lock();
        let Slot { serial, offset, length, .. } = locked.0.slots[slot];
        (serial, locked.arena()[offset..offset + length].to_vec())
    }

    /// Asks the worker for keys; returns the request's number.
    pub fn want(&self, slot: usize, want: Want) -> u64 {
        let locked = self.lock();
        let entry = &mut locked.0.slots[slot];
        entry.wanted += 1;
        match want {
            Want::Keys => {}
            Want::Newer => entry.wanted_newer = entry.wanted,
            Want::Now => entry.wanted_now = entry.wanted,
        }
        let number = entry.wanted;
        drop(locked);
        self.wake_worker();
        number
    }

    /// Waits until the worker has answered a request; false where it did not in time. Raises where the wait is
    /// cancelled.
    pub fn wait(&self, slot: usize, number: u64, timeout: Duration) -> bool {
        let deadline = std::time::Instant::now() + timeout;
        // SAFETY: the condition variable is initialised and stays; a raised error cancels the sleep (AbortTransaction).
        unsafe {
            let condition = (&raw const self.memory().answered).cast_mut();
            pg_sys::ConditionVariablePrepareToSleep(condition);
            let answered = loop {
                if self.lock().0.slots[slot].answered >= number {
                    break true;
                }
                let left = deadline.saturating_duration_since(std::time::Instant::now()).as_millis();
                if left == 0 {
                    break false;
                }
                let left = i64::try_from(left).unwrap_or(i64::MAX);
                pg_sys::ConditionVariableTimedSleep(condition, left, wait_event());
            };
            pg_sys::ConditionVariableCancelSleep();
            answered
        }
    }

    fn wake_worker(&self) {
        let latch = self.memory().worker.load(Ordering::Acquire);
        if !latch.is_null() {
            // SAFETY: the latch is that of a PGPROC, which is in shared memory for good.
            unsafe { pg_sys::SetLatch(latch) };
        }
    }

    // What follows is for the worker.

    /// Names the latch that wakes the worker.
    pub fn set_worker(&self, latch: *mut pg_sys::Latch) {
        self.memory().worker.store(latch, Ordering::Release);
    }

    /// The newest request for a slot that is not answered.
    pub fn open_request(&self, slot: usize) -> Option<Request> {
        let locked = self.lock();
        let slot = &locked.0.slots[slot];
        (slot.wanted > slot.answered).then(|| Request {
            number: slot.wanted,
            newer: slot.wanted_newer > slot.answered || slot.wanted_now > slot.answered,
            now: slot.wanted_now > slot.answered,
        })
    }

    /// Answers all requests up to a number.
    pub fn answer(&self, slot: usize, number: u64) {
        let locked = self.lock();
        let entry = &mut locked.0.slots[slot];
        entry.answered = entry.answered.max(number);
        drop(locked);
        // SAFETY: the condition variable is initialised.
        unsafe { pg_sys::ConditionVariableBroadcast((&raw const self.memory().answered).cast_mut()) };
    }

    /// Notes how things stand with an origin.
    pub fn note(&self, slot: usize, attempted: i64, due: i64, quiet_until: i64, error: &str) {
        let locked = self.lock();
        let entry = &mut locked.0.slots[slot];
        (entry.attempted, entry.due, entry.quiet_until) = (attempted, due, quiet_until);
        entry.error.set(error);
        self.changed();
    }

    /// Publishes a key document. The serial changes only where the document does. False where it does not fit.
    pub fn publish(&self, slot: usize, document: &[u8], fetched: i64, life: i64) -> bool {
        let mut locked = self.lock();
        let Slot { serial, offset, length, .. } = locked.0.slots[slot];
        let same = serial != 0 && locked.arena()[offset..offset + length] == *document;
        if !same {
            let others: usize = locked
                .0
                .slots
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != slot)
                .map(|(_, slot)| slot.length)
                .sum();
            if others + document.len() > locked.0.arena_size {
                return false;
            }
            locked.0.slots[slot].length = 0;
            locked.compact();
            let start = locked.0.arena_used;
            locked.arena()[start..start + document.len()].copy_from_slice(document);
            locked.0.arena_used += document.len();
            (locked.0.slots[slot].offset, locked.0.slots[slot].length) = (start, document.len());
        }
        let generation = self.changed();
        let entry = &mut locked.0.slots[slot];
        (entry.fetched, entry.life) = (fetched, life);
        if !same {
            entry.serial = generation;
        }
        true
    }
}

impl Locked {
    /// Moves the documents to the start of the arena, in their order.
    fn compact(&mut self) {
        let mut order: Vec<usize> = (0..MAX_SLOTS).filter(|slot| self.0.slots[*slot].length > 0).collect();
        order.sort_by_key(|slot| self.0.slots[*slot].offset);
        let mut used = 0;
        for slot in order {
            let Slot { offset, length, .. } = self.0.slots[slot];
            self.arena().copy_within(offset..offset + length, used);
            self.0.slots[slot].offset = used;
            used += length;
        }
        self.0.arena_used = used;
    }
}

/// The wait event of a backend that waits for keys; it has a name from PostgreSQL 17 on.
fn wait_event() -> u32 {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        thread_local! {
            static EVENT: Cell<u32> = const { Cell::new(0) };
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
