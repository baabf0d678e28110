//! PostgreSQL's own things, each wrapped once: variables, settings, hooks, transactions, users, values, encodings, errors,
//! the clock. Nothing here knows what an identity is.

pub mod activity;
pub mod backend_local;
pub mod clock;
pub mod datum;
pub mod encoding;
pub mod error;
pub mod expression;
pub mod function;
pub mod guarded_setting;
pub mod hook;
pub mod invalidation;
pub mod jsonb;
pub mod keyed_table;
pub mod list;
pub mod memory;
pub mod policy;
pub mod privilege;
pub mod process;
pub mod setting;
pub mod shared_memory;
pub mod statement;
pub mod subtransaction;
pub mod transaction;
pub mod trigger;
pub mod user;
