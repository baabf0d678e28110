//! The transaction in progress, and the ends of transactions and subtransactions.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::SubTransactionId;

use super::backend_local::BackendLocal;

unsafe extern "C-unwind" {
    // Without pgrx's guard, which these would not need: they return a variable.
    safe fn GetCurrentTransactionNestLevel() -> c_int;
    safe fn IsTransactionState() -> bool;
}

/// What becomes of a transaction or subtransaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The transaction is committed, or prepared to be.
    Committed,
    /// The transaction is rolled back. PostgreSQL has not restored its settings yet.
    RolledBack,
    /// The subtransaction is committed, and what it did belongs to its parent.
    SubCommitted {
        /// The subtransaction.
        ended: SubTransactionId,
        /// The one around it.
        parent: SubTransactionId,
    },
    /// The subtransaction is rolled back. PostgreSQL has not restored its settings yet.
    SubRolledBack {
        /// The subtransaction.
        ended: SubTransactionId,
    },
}

/// Is told of an event. It must not raise, panic or allocate.
pub type Listener = fn(Event);

/// Who is told, in the order in which they began to listen.
static LISTENERS: BackendLocal<RefCell<Vec<Listener>>> = BackendLocal::new(RefCell::new(Vec::new()));

/// Tells `listener` of all events of this backend, from now on. Not to be called by a listener.
pub fn listen(listener: Listener) {
    let is_first = LISTENERS.with_borrow_mut(|listeners| {
        listeners.push(listener);
        listeners.len() == 1
    });
    if is_first {
        // SAFETY: the callbacks neither raise nor unwind, as no listener does.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction_event), null_mut());
            pg_sys::RegisterSubXactCallback(Some(subtransaction_event), null_mut());
        }
    }
}

/// Whether a transaction is in progress that has not failed.
#[inline]
pub fn is_in_progress() -> bool {
    IsTransactionState()
}

/// How deep the innermost subtransaction in progress is within others; 1 is the transaction itself.
pub fn nest_level() -> i32 {
    GetCurrentTransactionNestLevel()
}

/// Makes the transaction in progress read-only, as SET TRANSACTION READ ONLY does at any time.
pub fn make_read_only() {
    // SAFETY: PostgreSQL's own variable, which any statement may make true.
    unsafe { pg_sys::XactReadOnly = true };
}

/// The innermost subtransaction in progress; without one, that of the transaction itself.
pub fn current_subtransaction() -> SubTransactionId {
    // SAFETY: reads a variable.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

fn tell(event: Event) {
    LISTENERS.with_borrow(|listeners| listeners.iter().for_each(|listener| listener(event)));
}

extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::{
        XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PARALLEL_ABORT, XACT_EVENT_PARALLEL_COMMIT, XACT_EVENT_PREPARE,
    };
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PARALLEL_COMMIT | XACT_EVENT_PREPARE => tell(Event::Committed),
        XACT_EVENT_ABORT | XACT_EVENT_PARALLEL_ABORT => tell(Event::RolledBack),
        // It is about to be committed, and may still fail.
        _ => {}
    }
}

extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    ended: SubTransactionId,
    parent: SubTransactionId,
    _: *mut c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    match event {
        SUBXACT_EVENT_COMMIT_SUB => tell(Event::SubCommitted { ended, parent }),
        SUBXACT_EVENT_ABORT_SUB => tell(Event::SubRolledBack { ended }),
        // It begins, or is about to be committed, and may still fail.
        _ => {}
    }
}

/// Something to do when PostgreSQL lets go of the memory of the transaction or subtransaction in progress, which comes
/// after it has restored its settings, and once more for each one around it. All memory that this takes is taken when it
/// is made, so that an error can arm it.
#[must_use]
pub struct AfterEnd(Box<Ending>);

struct Ending {
    /// PostgreSQL's link to this.
    callback: pg_sys::MemoryContextCallback,
    act: fn(),
    is_outermost: bool,
}

impl AfterEnd {
    /// Not armed yet. `act` must not raise, panic or allocate.
    pub fn new(act: fn()) -> Self {
        Self(Box::new(Ending { callback: pg_sys::MemoryContextCallback::default(), act, is_outermost: false }))
    }

    /// Arms it for the innermost transaction or subtransaction in progress.
    pub fn arm(self) {
        let ending = Box::into_raw(self.0);
        // SAFETY: the block stays until `memory_released` gives it back to Rust; a context registers it as long as the
        // memory of the transaction is there, and calls it once.
        unsafe {
            let context = pg_sys::CurTransactionContext;
            (*ending).is_outermost = context == pg_sys::TopTransactionContext;
            (*ending).callback.func = Some(memory_released);
            (*ending).callback.arg = ending.cast();
            pg_sys::MemoryContextRegisterResetCallback(context, &raw mut (*ending).callback);
        }
    }
}

/// # Safety
///
/// The pointer must be the block of an [`AfterEnd`] that was armed, of which nobody else has a pointer any more.
unsafe extern "C-unwind" fn memory_released(ending: *mut c_void) {
    // SAFETY: `arm` passed the block on, and PostgreSQL has taken it off its list before it calls this.
    let ending = AfterEnd(unsafe { Box::from_raw(ending.cast()) });
    (ending.0.act)();
    if !ending.0.is_outermost {
        // PostgreSQL makes the parent's memory the current one before it lets go of a subtransaction's.
        ending.arm();
    }
}
