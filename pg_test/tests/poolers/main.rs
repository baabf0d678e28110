//! PgBouncer in front: connections that clients share.

mod server;

mod session_pooling;
mod soak;
mod tenants_under_load;
mod transaction_pooling;
