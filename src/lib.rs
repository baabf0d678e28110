//! pg_jwks: verified JWT identities for PostgreSQL row-level security.
//!
//! The verification itself is in the crate `pg_jwks_core`, which knows nothing of PostgreSQL. This crate is its
//! PostgreSQL edge. Each room uses those above it only:
//!
//! | room | what it is for |
//! |---|---|
//! | `core/` | tokens, keys, policy and verification, pure |
//! | `pg` | PostgreSQL's own things, each wrapped once |
//! | `settings` | every setting `pg_jwks.*`, its checks, and one typed snapshot of them |
//! | `telemetry` | the audit log, the counters, and a server log without secrets |
//! | `keys` | the issuers' keys: read, fetched and kept |
//! | `identity` | who the session is |
//! | `tenant` | to which tenants the identity belongs |
//! | `enforcement` | what the identity may do, held at each statement |
//! | `login` | logging in to PostgreSQL with a token |
//! | `functions` | the SQL functions |
//!
//! The SQL that the extension installs is `sql/pg_jwks--VERSION.sql`.

mod enforcement;
mod functions;
mod identity;
mod keys;
mod login;
mod pg;
mod settings;
mod telemetry;
mod tenant;

use pgrx::prelude::*;

use pg::process::{has_postmaster, is_preloading};

pgrx::pg_module_magic!();

/// Called by PostgreSQL when the library is loaded: once in a backend, or once in the postmaster when preloaded.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    identity::session::define();
    identity::revocation::watch();
    tenant::define();
    settings::reserve_prefix();
    identity::claim_settings::define();
    telemetry::log::install();
    enforcement::statements::watch();
    login::watch();
    if is_preloading() && has_postmaster() {
        share();
    }
}

/// What only the postmaster can set up, for all processes of the cluster.
fn share() {
    if let Err(error) = telemetry::counters::share() {
        error!("pg_jwks: no memory for counters: {error}");
    }
    pg::shared_memory::share(&[keys::AREA, identity::connected::AREA]);
    keys::register_worker();
    identity::verification::warm_up();
}
