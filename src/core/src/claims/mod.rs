//! The claims of a token: how to read them, and which may be believed.

mod assumed;
mod believed;
mod claim_set;
mod log_text;
mod path;

pub use assumed::AssumedClaims;
pub use believed::{RequestClaims, RestoredClaims};
pub use claim_set::{ClaimSet, uuid};
pub use log_text::{log_text, named_paths};
pub use path::ClaimPath;
