//! An identity stands only as long as its trust: settings, keys and revocations judge it at the start of each statement.

mod assumed;
mod connected;
mod keys;
mod log_claims;
mod logout;
mod revocation;
mod server;
mod settings;
mod shapes;
mod storm;
mod user_claim;
