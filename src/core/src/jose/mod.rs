//! Tokens, keys and key documents as the JOSE standards define them (RFC 7515 to 7519). It knows no issuer and no setting.

pub mod algorithm;
mod der;
pub mod jwks;
pub mod key;
mod pem;
pub mod presented;
pub mod token;
