//! The keys of the issuers: read from files, fetched over HTTP, and kept by the cluster or, where the library is not
//! preloaded, by each backend.

mod backend_store;
mod cluster_store;
mod disk;
mod fetch;
mod fetch_thread;
mod held;
mod in_force;
mod location;
mod per_source;
mod shared;
mod source;
mod status;
mod store;
mod worker;

pub use held::{Held, generation, held};
pub use in_force::{KeysInForce, refresh};
pub use shared::AREA;
pub use status::key_rows;
pub use worker::register as register_worker;
