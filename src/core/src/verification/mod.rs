//! From a token to claims: the one way in, and its explanation. Nothing else makes verified claims.

mod checks;
pub mod explain;
pub mod judgement;
pub mod logout;
pub mod verify;
pub mod warm_up;
