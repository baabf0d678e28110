//! The keys of the issuers: read from files, fetched over HTTP, and kept by the cluster or, where the library is not
//! preloaded, by each backend.

mod cluster;
mod disk;
mod fetch;
mod location;
mod overview;
mod own;
mod shared;
mod source;
mod wait;
mod worker;

pub use fetch::trust_roots;
pub use overview::{key_rows, refresh};
pub use shared::{request as request_shared_memory, startup as start_shared_memory};
pub use source::KeysInForce;
pub use worker::register as register_worker;
