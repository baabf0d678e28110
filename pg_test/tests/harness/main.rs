//! The harness does what tests rely on.

mod cluster;
mod issuer;
mod keys;
