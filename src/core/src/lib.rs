//! The verification core of pg_jwks.
//!
//! It knows tokens, keys and policies and nothing of PostgreSQL, threads, sockets or clocks: bytes and the time are
//! handed in, so everything here is deterministic and is tested, fuzzed and benchmarked without a server.
//!
//! Data flows one way, and each step is a type that only the check before it can make:
//!
//! ```text
//! compact token → Unverified → Signed → VerifiedClaims
//! ```
//!
//! Claims that come another way have types of their own ([`claims`]), and none becomes the other.
#![forbid(unsafe_code)]

pub mod allowance;
pub mod bounds;
pub mod cache;
pub mod certificates;
pub mod claims;
pub mod digest;
pub mod discovery;
pub mod excerpt;
pub mod jose;
pub mod json;
mod near_miss;
pub mod policy;
pub mod redaction;
pub mod rejection;
pub mod time;
pub mod url;
pub mod verification;
