//! What a tenant depends on: while it is the same, two calls in one backend find the same tenant.

use std::cell::Cell;

use pgrx::pg_sys;

use crate::identity::judgement::judgements;
use crate::identity::session::Identity;
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::statement_start;
use crate::pg::transaction;
use crate::settings;

unsafe extern "C-unwind" {
    // pgrx wraps each function of PostgreSQL in a sigsetjmp, which would cost more than the rest of a call. These
    // return a variable and cannot raise, the second while there is an active snapshot.
    safe fn ActiveSnapshotSet() -> bool;
    fn GetActiveSnapshot() -> pg_sys::Snapshot;
}

/// Another number after each change that the other [`Dependencies`] do not show.
static CHANGES: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

/// Something has changed that a tenant depends on.
pub fn changed() {
    CHANGES.set(CHANGES.get().wrapping_add(1));
}

/// Lets transactions count as changes: their snapshots can look alike. So can those before and after a subtransaction
/// that is rolled back.
pub fn watch() {
    transaction::listen(|_| changed());
}

/// All that the tenant depends on: the identity, the settings, and what the snapshot shows of the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dependencies {
    serial: u64,
    changes: u64,
    /// When the client's statement began, which decides whether the identity has expired.
    statement: pg_sys::TimestampTz,
    /// How many transactions of the cluster had ended, which decides about those between xmin and xmax.
    completions: u64,
    /// The commands of this transaction that the snapshot shows.
    command: pg_sys::CommandId,
    xmin: pg_sys::TransactionId,
    xmax: pg_sys::TransactionId,
}

/// Another number after each change, as neither of the two ever falls.
#[inline]
fn changes() -> u64 {
    CHANGES.get().wrapping_add(settings::generation()).wrapping_add(judgements())
}

impl Dependencies {
    /// Whether nothing has changed since, for this identity: what [`Dependencies::now`] and a comparison would say.
    #[inline]
    pub fn is_present(&self, identity: Identity) -> bool {
        if !ActiveSnapshotSet() {
            return false;
        }
        // SAFETY: there is an active snapshot, which stays while this function runs.
        let snapshot = unsafe { &*GetActiveSnapshot() };
        // One branch for each row, as a comparison of structures would be a call.
        let differences = (self.serial ^ identity.serial)
            | (self.changes ^ changes())
            | (self.statement ^ statement_start()).cast_unsigned()
            | (self.completions ^ snapshot.snapXactCompletionCount)
            | u64::from(self.command ^ snapshot.curcid)
            | u64::from(self.xmin.into_inner() ^ snapshot.xmin.into_inner())
            | u64::from(self.xmax.into_inner() ^ snapshot.xmax.into_inner());
        differences == 0
    }

    /// The present ones, in a statement of `identity`; `None` if nothing says which rows are seen.
    #[inline]
    pub fn now(identity: Identity) -> Option<Self> {
        if !ActiveSnapshotSet() {
            return None;
        }
        // SAFETY: there is an active snapshot, which stays while this function runs.
        let snapshot = unsafe { &*GetActiveSnapshot() };
        Some(Self {
            serial: identity.serial,
            changes: changes(),
            statement: statement_start(),
            completions: snapshot.snapXactCompletionCount,
            command: snapshot.curcid,
            xmin: snapshot.xmin,
            xmax: snapshot.xmax,
        })
    }
}
