//! The harness of the tests, the demo and the benchmarks: a real PostgreSQL
//! server, a real identity provider, and keys that sign whatever a test needs.
//!
//! Everything here panics when it cannot do its work: a test that cannot be set
//! up has failed.

pub mod app;
pub mod backend;
pub mod bench_keys;
pub mod clients;
pub mod cluster;
pub mod documents;
pub mod error;
pub mod issuer;
pub mod keys;
pub mod login;
pub mod node;
pub mod offline;
pub mod oidc_provider;
pub mod parallel;
pub mod process;
pub mod raw;
pub mod sql;
pub mod tls;
pub mod wait;

pub use cluster::Cluster;
pub use error::{PgError, pg_error};
pub use issuer::{Document, Fault, Issuer, Requests};
pub use keys::{Alg, SigningKey, claims, claims_with, jwks, now};
pub use oidc_provider::{Decision, OidcProvider, Tokens};
pub use raw::{Credentials, RawClient, Refused};
pub use tls::{Authority, Certificate, Validity};
