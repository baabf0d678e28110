//! Living with row security: migrations, jobs, dumps, replication, tests and tools on isolated tables, as `docs/tenants.md`
//! has them, and what once went wrong without anybody being told.

mod backing_out;
mod extensions;
mod orms;
mod replication;
mod sections;
mod shop;
mod stories;
