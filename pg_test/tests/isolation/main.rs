//! Tenant isolation of a table in one statement, and what `auth.rls_lint` finds.

mod accepted;
mod clean;
mod dump;
mod guard;
mod keys;
mod lint;
mod notices;
mod owners;
mod refusals;
mod rules;
mod server;
mod tenants;
mod trees;
mod undo;
