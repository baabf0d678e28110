//! The verification core of pg_jwks.
//!
//! It knows tokens, keys and policies and nothing of PostgreSQL, threads, sockets or clocks: bytes and the time are
//! handed in, so everything here is deterministic and is tested, fuzzed and benchmarked without a server.
//!
//! Data flows one way, and each step is a type that only the check before it can make:
//!
//! ```text
//! compact token → Unverified → Verified → Claims
//! ```
#![forbid(unsafe_code)]

pub mod algorithm;
pub mod bounds;
pub mod claim_variables;
pub mod claims;
pub mod discovery;
pub mod explain;
pub mod freshness;
pub mod http_caching;
pub mod json;
pub mod jwks;
pub mod key;
pub mod login;
pub mod membership_table;
mod pem;
pub mod policy;
pub mod providers;
pub mod redaction;
pub mod rejection;
pub mod role_map;
pub mod shared_cache;
pub mod time;
pub mod token;
pub mod token_cache;
pub mod verify;
pub mod warm_up;
