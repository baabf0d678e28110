//! The server's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use pg_jwks_core::time::Timestamp;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The present moment. Unlike PostgreSQL's functions, this may be called from any thread.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since_epoch.as_micros().try_into().unwrap_or(i64::MAX))
}
