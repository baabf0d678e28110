//! The whole-application examples of `rls_examples/`, as their users run them.

mod checks;
mod http;
mod migration;
mod pg_session_jwt;
mod proxy_variables;
mod psql_login;
mod role_mapping_proxy;
mod self_signed_api;
mod service;
mod supabase;
