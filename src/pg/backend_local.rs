//! A variable that each backend has once.

use std::cell::RefCell;
use std::ops::Deref;

/// What PostgreSQL's own code would keep in a static variable. In a shared library a `thread_local` costs a call of the
/// dynamic linker at each access, which readers would pay for each row; a build with debug assertions pays it, and
/// panics on any thread but the one that PostgreSQL runs on.
pub struct BackendLocal<T>(T);

// SAFETY: PostgreSQL's code, and all of ours that it calls, runs on the backend's one thread. The threads that fetch keys
// have only what they are given.
unsafe impl<T> Sync for BackendLocal<T> {}

impl<T> BackendLocal<T> {
    /// The variable with its first value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for BackendLocal<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        #[cfg(debug_assertions)]
        pgrx::pg_sys::thread_check::check_active_thread();
        &self.0
    }
}

/// What `thread_local!` offers for a `RefCell`.
impl<T> BackendLocal<RefCell<T>> {
    /// Calls `read` with the value.
    pub fn with_borrow<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.borrow())
    }

    /// Calls `write` with the value.
    pub fn with_borrow_mut<R>(&self, write: impl FnOnce(&mut T) -> R) -> R {
        write(&mut self.borrow_mut())
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }
}
