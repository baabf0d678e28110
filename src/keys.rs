//! The keys of the issuers: read from files, fetched over HTTP, and kept by this backend.

mod backend;
mod fetch;
mod wait;

pub use backend::BackendKeys;
pub use fetch::trust_roots;
