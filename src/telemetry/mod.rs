//! What operators learn: the audit log, the counters, and a server log and statistics without secrets.

pub mod activity;
pub mod audit;
pub mod counters;
pub mod log;
pub mod log_claims;
