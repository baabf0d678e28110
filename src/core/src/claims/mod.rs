//! The claims of a token: how to read them, and which may be believed.

mod believed;
mod claim_set;
mod path;

pub use believed::{RequestClaims, RestoredClaims};
pub use claim_set::{ClaimSet, uuid};
pub use path::ClaimPath;
