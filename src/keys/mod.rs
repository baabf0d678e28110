//! The keys of the issuers: read from files, fetched over HTTP, and kept by the cluster or, where the library is not
//! preloaded, by each backend.

mod cluster;
mod disk;
mod fetch;
mod location;
mod overview;
mod own;
mod preload;
mod shared;
mod source;
mod wait;
mod worker;

pub use overview::{key_rows, refresh};
pub use preload::share;
pub use source::KeysInForce;
