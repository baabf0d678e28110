//! pg_jwks: verified JWT identities for PostgreSQL row-level security.
//!
//! The verification itself is in the crate `pg_jwks_core`. This crate is its PostgreSQL edge, and arrows run one way:
//! core ← settings ← keys, session ← tenant, oauth ← api.
//!
//! The SQL that the extension installs is `sql/pg_jwks--VERSION.sql`.

mod admin;
mod api;
mod assignment;
mod audit;
mod backend_local;
mod claim_variables;
mod clock;
mod hooks;
mod identity;
mod keys;
#[cfg(feature = "pg18")]
mod oauth;
mod privileges;
mod readers;
mod report;
mod request_claims;
mod session;
mod settings;
mod statements;
mod statistics;
mod tenant;
mod verification;

use pgrx::prelude::*;

pgrx::pg_module_magic!();

/// Called by PostgreSQL when the library is loaded: once in a backend, or once in the postmaster when preloaded.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    session::define();
    tenant::define();
    settings::reserve_prefix();
    claim_variables::define();
    hooks::install();
    statements::watch();
    hooks::share_keys();
}
