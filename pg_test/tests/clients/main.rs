//! Clients that people use, and a certified OpenID provider.

mod app;
mod drivers;
mod login;
mod openid_provider;
mod password;
mod pgbouncer;
