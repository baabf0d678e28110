//! Logging in with a token: the claims of a token that may log in are at once the session's identity.

#[cfg(feature = "pg18")]
mod oauth;
#[cfg(feature = "pg18")]
mod role;
