//! Clients that people use, and a certified OpenID provider.

mod app;
mod drivers;
mod openid_provider;
mod readme;
