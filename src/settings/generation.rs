//! A number that tells whether a setting has changed.

use std::cell::Cell;

use crate::pg::backend_local::BackendLocal;

static GENERATION: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

/// Another number after each change of a setting. Readers look at it for each row.
#[inline]
pub fn generation() -> u64 {
    GENERATION.get()
}

/// A setting has been assigned.
pub fn changed() {
    GENERATION.set(GENERATION.get().wrapping_add(1));
}
