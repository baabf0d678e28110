//! What operators learn: the audit log, the counters, and a server log without secrets.

pub mod audit;
pub mod counters;
pub mod log;
