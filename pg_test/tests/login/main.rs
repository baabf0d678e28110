//! Logging in with a token: PostgreSQL 18 and later; elsewhere, what holds instead.

mod server;
mod standing;

mod accepted;
mod continuity;
mod expiry;
mod other_versions;
mod password;
mod real_providers;
mod refused;
mod waiting;
