//! The identity of the session: who can set it, how long it lasts, and who sees it.

mod server;

mod activity;
mod call_sites;
mod encodings;
mod expiry;
mod fail_closed;
mod forgery;
mod log;
mod log_formats;
mod memory;
mod memory_limit;
mod model;
mod parallel;
mod plans;
mod pooling;
mod readers;
mod trust;
