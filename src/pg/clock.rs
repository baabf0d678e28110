//! The server's clock, and its moments in the core's type and in PostgreSQL's.

use std::time::{SystemTime, UNIX_EPOCH};

use pg_jwks_core::time::Timestamp;
use pgrx::pg_sys::TimestampTz;

unsafe extern "C-unwind" {
    // pgrx wraps each function of PostgreSQL in a sigsetjmp, which would cost more than a reader does for a row. These
    // return a variable or the time, and cannot raise.
    safe fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    safe fn GetCurrentTransactionStartTimestamp() -> TimestampTz;
    safe fn GetCurrentTimestamp() -> TimestampTz;
}

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The present moment. Unlike PostgreSQL's functions, this may be called from any thread.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since_epoch.as_micros().try_into().unwrap_or(i64::MAX))
}

/// When the client's statement began.
#[inline]
pub fn statement_start() -> TimestampTz {
    GetCurrentStatementStartTimestamp()
}

/// When the transaction in progress began.
#[inline]
pub fn transaction_start() -> TimestampTz {
    GetCurrentTransactionStartTimestamp()
}

/// The present moment, whatever has begun.
#[inline]
pub fn present_moment() -> TimestampTz {
    GetCurrentTimestamp()
}

/// A moment of PostgreSQL's in the core's type; the last one that there is for a moment beyond.
pub fn from_postgres(moment: TimestampTz) -> Timestamp {
    Timestamp::from_micros(moment.saturating_add(POSTGRES_EPOCH_MICROS))
}

/// A moment of the core's in PostgreSQL's type. It can lie outside of PostgreSQL's calendar.
pub fn to_postgres(moment: Timestamp) -> TimestampTz {
    moment.micros().saturating_sub(POSTGRES_EPOCH_MICROS)
}
