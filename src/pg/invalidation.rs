//! What other sessions have changed: PostgreSQL's invalidation messages.

use pgrx::pg_sys;

use super::transaction;

unsafe extern "C-unwind" {
    // Without pgrx's guard, which would cost more than the functions do.
    safe fn HistoricSnapshotActive() -> bool;
    fn AcceptInvalidationMessages();
}

/// Whether this process may look into the catalogue, and sees it as it is now.
fn sees_the_present() -> bool {
    transaction::is_in_progress() && !HistoricSnapshotActive()
}

/// Takes in what other sessions have committed by now. PostgreSQL does so when it locks a table; a statement that has its
/// plan and its locks already would not notice.
///
/// # Safety
///
/// To be called from a frame of a hook that has nothing to drop: errors pass over it as PostgreSQL raises them.
#[inline]
pub unsafe fn accept() {
    if sees_the_present() {
        // SAFETY: a transaction is in progress; the caller lets errors pass.
        unsafe { AcceptInvalidationMessages() };
    }
}

/// The same, from anywhere. Raises what invalidating raises.
pub fn learn() {
    if sees_the_present() {
        // SAFETY: a transaction is in progress.
        unsafe { pg_sys::AcceptInvalidationMessages() };
    }
}
