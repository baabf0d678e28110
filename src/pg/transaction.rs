//! The transaction in progress, and the ends of transactions and subtransactions.

use std::ffi::{c_int, c_void};
use std::mem;

use pgrx::pg_sys;
use pgrx::pg_sys::SubTransactionId;

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
    /// A subtransaction begins, or one of the two is about to be committed.
    Underway,
}

/// Is told of an event. It must not raise, panic or allocate.
pub type Listener = fn(Event);

/// Tells `listener` of all events of this backend, from now on.
pub fn listen(listener: Listener) {
    let listener = listener as *const () as *mut c_void;
    // SAFETY: the callbacks take for a listener what is passed here, and neither raise nor unwind.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_event), listener);
        pg_sys::RegisterSubXactCallback(Some(subtransaction_event), listener);
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
#[cfg(feature = "pg18")]
pub fn current_subtransaction() -> SubTransactionId {
    // SAFETY: reads a variable.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// # Safety
///
/// The pointer must be one that [`listen`] passed to PostgreSQL.
unsafe fn tell(listener: *mut c_void, event: Event) {
    // SAFETY: `listen` made the pointer from a function of this type.
    let listener = unsafe { mem::transmute::<*mut c_void, Listener>(listener) };
    listener(event);
}

/// # Safety
///
/// PostgreSQL must call this as [`listen`] asked for.
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, listener: *mut c_void) {
    use pg_sys::XactEvent::{
        XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PARALLEL_ABORT, XACT_EVENT_PARALLEL_COMMIT, XACT_EVENT_PREPARE,
    };
    let event = match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PARALLEL_COMMIT | XACT_EVENT_PREPARE => Event::Committed,
        XACT_EVENT_ABORT | XACT_EVENT_PARALLEL_ABORT => Event::RolledBack,
        _ => Event::Underway,
    };
    // SAFETY: PostgreSQL hands back what it was registered with.
    unsafe { tell(listener, event) };
}

/// # Safety
///
/// PostgreSQL must call this as [`listen`] asked for.
unsafe extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    ended: SubTransactionId,
    parent: SubTransactionId,
    listener: *mut c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    let event = match event {
        SUBXACT_EVENT_COMMIT_SUB => Event::SubCommitted { ended, parent },
        SUBXACT_EVENT_ABORT_SUB => Event::SubRolledBack { ended },
        _ => Event::Underway,
    };
    // SAFETY: PostgreSQL hands back what it was registered with.
    unsafe { tell(listener, event) };
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
