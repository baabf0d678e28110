//! The server's clock.

use pg_jwks_core::time::Timestamp;
use pgrx::pg_sys;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The present moment.
pub fn now() -> Timestamp {
    // SAFETY: reads the clock.
    let micros = unsafe { pg_sys::GetCurrentTimestamp() };
    Timestamp::from_micros(micros + POSTGRES_EPOCH_MICROS)
}
