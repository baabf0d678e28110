//! Who the session is: from a token to the one guarded setting, and what is derived from it.

pub mod assumption;
pub mod claim_settings;
pub mod connected;
pub mod derived;
pub mod judgement;
pub mod origin;
mod request_claims;
pub mod revocation;
pub mod session;
mod shown;
pub mod standing;
pub mod verification;
