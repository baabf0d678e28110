//! PostgreSQL's own things, each wrapped once: settings, memory, encodings, errors, the clock. It knows nothing of tokens.

pub mod backend_local;
pub mod clock;
pub mod datum;
pub mod encoding;
pub mod error;
pub mod guarded_setting;
pub mod hook;
pub mod setting;
pub mod transaction;
pub mod user;
