//! The harness of the tests, the demo and the benchmarks: a real PostgreSQL
//! server, a real identity provider, and keys that sign whatever a test needs.
//!
//! Everything here panics when it cannot do its work: a test that cannot be set
//! up has failed.

#[cfg(feature = "drivers")]
pub mod app;
#[cfg(feature = "drivers")]
pub mod backend;
#[cfg(feature = "drivers")]
pub mod bench_keys;
pub mod clients;
pub mod cluster;
pub mod documents;
#[cfg(feature = "drivers")]
pub mod error;
pub mod issuer;
pub mod keys;
#[cfg(feature = "drivers")]
pub mod login;
pub mod long;
pub mod node;
pub mod offline;
#[cfg(feature = "drivers")]
pub mod oidc_provider;
#[cfg(feature = "drivers")]
pub mod parallel;
pub mod process;
pub mod proxy;
#[cfg(feature = "drivers")]
pub mod raw;
pub mod real_provider;
#[cfg(feature = "drivers")]
pub mod sql;
#[cfg(feature = "drivers")]
pub mod tls;
pub mod wait;

pub use cluster::Cluster;
#[cfg(feature = "drivers")]
pub use error::{PgError, pg_error};
pub use issuer::{Document, Fault, Issuer, Requests};
pub use keys::{Alg, SigningKey, claims, claims_with, jwks, now};
#[cfg(feature = "drivers")]
pub use oidc_provider::{Decision, OidcProvider, Tokens};
pub use proxy::Proxy;
#[cfg(feature = "drivers")]
pub use raw::{Credentials, RawClient, Refused};
pub use real_provider::RealProvider;
#[cfg(feature = "drivers")]
pub use tls::{Authority, Certificate, Validity};
