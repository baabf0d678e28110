//! How long keys and verified tokens may be kept: state machines to which the time is handed.

pub mod freshness;
pub mod http_caching;
pub mod last_used;
pub mod published;
pub mod slots;
pub mod stored;
pub mod token_cache;
pub mod worker_plan;
