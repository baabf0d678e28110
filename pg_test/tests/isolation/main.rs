//! Tenant isolation of a table in one statement, and what `auth.rls_lint` finds.

mod clean;
mod dump;
mod lint;
mod notices;
mod owners;
mod refusals;
mod server;
mod tenants;
mod undo;
