//! What an identity may do, held at each statement: its role, and whether it may write.

pub mod read_only;
pub mod role;
pub mod statements;
mod writing;
