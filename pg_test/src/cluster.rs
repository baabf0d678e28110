//! A throwaway PostgreSQL server with pg_jwks, which leaves the system's installation alone.

mod etc;
mod folder;
mod install;
mod kept;
mod options;
mod os_user;

#[cfg(feature = "drivers")]
mod pgbouncer;
mod running;
mod server;

pub use options::{Options, free_port};
#[cfg(feature = "drivers")]
pub use pgbouncer::PgBouncer;
pub use running::{Cluster, LogMark};
