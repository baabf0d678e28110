//! The SQL functions, by theme. Their declarations are in `sql/`.

mod assume;
mod call_site;
mod claim;
mod explain;
mod jwt_session;
mod monitoring;
mod readers;
mod revocation;
mod rls_expression;
mod tenants;
mod token;
