//! Logging in with a token: the claims of a token that may log in are at once the session's identity.
//!
//! There are two doors: PostgreSQL's OAuth, from version 18 on, and the token as password, by PAM. Both ask
//! [`admission`], and tell nobody but the log why somebody is refused.

mod admission;
#[cfg(feature = "pg18")]
mod oauth;
mod password;
mod role;

use std::ffi::{CStr, c_char};

use pgrx::prelude::*;

unsafe extern "C-unwind" {
    /// Has PostgreSQL call [`pg_jwks_authentication_decided`]. To be called once. `server.c`.
    safe fn pg_jwks_watch_authentication();
}

/// Watches how authentications end.
pub fn watch() {
    pg_jwks_watch_authentication();
}

/// Called once PostgreSQL has asked whom it had to, has compared names, or looked into `pg_ident.conf`, and has decided.
///
/// # Safety
///
/// The service must be NULL or a C string.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn pg_jwks_authentication_decided(is_authenticated: bool, pam_service: *const c_char) {
    // SAFETY: the caller passes NULL or a C string.
    let pam_service = unsafe { pam_service.as_ref().map(|first| CStr::from_ptr(first)) };
    password::check_decision(is_authenticated, pam_service);
    admission::decided(is_authenticated);
}
