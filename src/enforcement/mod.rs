//! What is held at each statement: an identity's role, whether it may write, and that isolated tables stay isolated.

mod isolation;
pub mod read_only;
pub mod role;
pub mod statements;
mod writing;
