//! When two calls in one backend are sure to find the same tenant.

use pgrx::pg_sys;

use super::choice;
use crate::session::Identity;
use crate::settings;

unsafe extern "C-unwind" {
    // pgrx wraps each function of PostgreSQL in a sigsetjmp, which would cost more than the rest of a call. These
    // return a variable and cannot raise.
    safe fn GetCurrentStatementStartTimestamp() -> pg_sys::TimestampTz;
    safe fn GetCurrentTransactionStartTimestamp() -> pg_sys::TimestampTz;
    safe fn GetCurrentSubTransactionId() -> pg_sys::SubTransactionId;
    safe fn ActiveSnapshotSet() -> bool;
    fn GetActiveSnapshot() -> pg_sys::Snapshot;
}

/// All that the tenant depends on: the identity, the settings, and what the snapshot shows of the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The commands of this transaction that the snapshot shows.
    command: pg_sys::CommandId,
    /// Tells subtransactions apart: what one did is undone when it rolls back, with the number of commands unchanged.
    subtransaction: pg_sys::SubTransactionId,
    xmin: pg_sys::TransactionId,
    xmax: pg_sys::TransactionId,
    /// How many transactions of the cluster had ended, which decides about those between xmin and xmax.
    completions: u64,
    /// Tells transactions apart.
    start: pg_sys::TimestampTz,
    serial: u64,
    configuration: u64,
}

impl Moment {
    /// The present one, in a statement of `identity`; `None` where nothing says which rows are seen.
    #[inline]
    pub fn now(identity: Identity) -> Option<Self> {
        if !ActiveSnapshotSet() {
            return None;
        }
        // SAFETY: there is an active snapshot, which stays while this function runs.
        let snapshot = unsafe { &*GetActiveSnapshot() };
        Some(Self {
            command: snapshot.curcid,
            subtransaction: GetCurrentSubTransactionId(),
            xmin: snapshot.xmin,
            xmax: snapshot.xmax,
            completions: snapshot.snapXactCompletionCount,
            start: GetCurrentStatementStartTimestamp().max(GetCurrentTransactionStartTimestamp()),
            serial: identity.serial,
            // Neither number ever falls.
            configuration: settings::generation() + choice::generation(),
        })
    }
}
