//! PgBouncer in front: connections that clients share.

mod server;

mod session_pooling;
mod tenants_under_load;
mod transaction_pooling;
