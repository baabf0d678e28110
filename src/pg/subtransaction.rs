//! Doing something that may raise, and going on if it does.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

/// What `act` returns, in a subtransaction of its own; `None` if it raised an error, and everything that it did is
/// rolled back. Passes on what ends the statement or the session: a cancellation, and lack of memory.
pub fn attempt<T>(act: impl FnOnce() -> T + UnwindSafe + RefUnwindSafe) -> Option<T> {
    // SAFETY: as PL/pgSQL does it for a block with an exception clause: memory and resources of the statement are the
    // current ones again, whether the subtransaction is committed or rolled back.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let back = move || {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        };
        PgTryBuilder::new(move || {
            let result = act();
            pg_sys::ReleaseCurrentSubTransaction();
            back();
            Some(result)
        })
        .catch_others(move |error| {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            back();
            // An error that passed through several of PostgreSQL's functions counts as a panic of ours.
            let (CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. }) = &error;
            if matches!(
                report.sql_error_code(),
                PgSqlErrorCode::ERRCODE_QUERY_CANCELED
                    | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
                    | PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY
            ) {
                error.rethrow()
            }
            None
        })
        .execute()
    }
}
