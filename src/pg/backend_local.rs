//! A variable that each backend has once.

use std::ops::Deref;

/// What PostgreSQL's own code would keep in a static variable. In a shared library a `thread_local` costs a call of the
/// dynamic linker at each access, which readers would pay for each row.
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
        &self.0
    }
}
