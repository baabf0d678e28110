//! The key cache of a cluster where the library is preloaded.

mod server;

mod audit;
mod cold_start;
mod concurrency;
mod disk;
mod exporter;
mod faults;
mod files;
mod grants;
mod many_issuers;
mod replica;
mod rotation;
mod shutdown;
mod sockets;
mod storm;
mod views;
mod waiting;
mod worker;
