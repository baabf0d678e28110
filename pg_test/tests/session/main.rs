//! The identity of the session: who can set it, how long it lasts, and who sees it.

mod server;

mod expiry;
mod fail_closed;
mod forgery;
mod parallel;
mod plans;
mod pooling;
mod readers;
mod trust;
