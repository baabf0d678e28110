//! A hook of PostgreSQL's, and the one that was there before.

use std::cell::Cell;

use super::backend_local::BackendLocal;

/// What a hook variable held before this library put its own hook there. `H` is the variable's type, an optional
/// function.
pub struct Hook<H>(BackendLocal<Cell<H>>);

impl<H: Copy> Hook<H> {
    /// A hook that is not installed. `none` is `None`.
    pub const fn new(none: H) -> Self {
        Self(BackendLocal::new(Cell::new(none)))
    }

    /// Installs `own` before the hooks of libraries that were loaded earlier.
    ///
    /// # Safety
    ///
    /// `variable` must be a hook variable of PostgreSQL's, and the library be about to be loaded. The function must keep
    /// the hook's contract, and call [`Hook::next`].
    pub unsafe fn install(&self, variable: *mut H, own: H) {
        // SAFETY: the caller promises a variable of the server, which nobody else touches while a library is loaded.
        unsafe {
            self.0.set(*variable);
            *variable = own;
        }
    }

    /// The hook to call in turn; `None` if there is no other.
    #[inline]
    pub fn next(&self) -> H {
        self.0.get()
    }
}
