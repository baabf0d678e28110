//! Logging in to PostgreSQL 18 with a token: the OAuth validator (`oauth_validator_libraries`).

use std::ffi::{CStr, CString, c_char, c_void};

use pg_jwks_core::policy::login::{LoginRule, RuleSource};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::admission::LoginRequest;
use crate::identity::origin::Origin;
use crate::pg::memory;

unsafe extern "C-unwind" {
    /// The callbacks that `server.c` defines.
    safe fn pg_jwks_oauth_callbacks() -> *const c_void;
}

/// Called by PostgreSQL when it loads the library as an OAuth validator.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _PG_oauth_validator_module_init() -> *const c_void {
    pg_jwks_oauth_callbacks()
}

/// Whether the bearer of `token` may log in as `role`; sets `authn_id` if the token says who that is.
///
/// # Safety
///
/// The texts must be C strings, `issuer` and `scope` possibly NULL, and `authn_id` valid for writing.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn pg_jwks_validate(
    token: *const c_char,
    role: *const c_char,
    issuer: *const c_char,
    scope: *const c_char,
    delegates_mapping: bool,
    authn_id: *mut *mut c_char,
) -> bool {
    // SAFETY: the caller passes NULL or C strings, which live as long as the authentication.
    let text = |text: *const c_char| unsafe { text.as_ref().map_or(c"", |first| CStr::from_ptr(first)) };
    let token = text(token).to_bytes();
    memory::require(token.len());
    let (issuer, scope) = (text(issuer).to_string_lossy(), text(scope).to_string_lossy());
    let rule = LoginRule { source: RuleSource::HbaLine, issuer: &issuer, scope: &scope, delegates_mapping };
    let request = LoginRequest { origin: Origin::OAuth, token, role: text(role), rule };
    let decision = request.decide();
    if let Some(name) = decision.authn_id.and_then(|name| CString::new(name).ok()) {
        // SAFETY: the caller's pointer is valid for writing; a C string is copied into the current memory context, which
        // is what PostgreSQL asks for.
        unsafe { *authn_id = pg_sys::pstrdup(name.as_ptr()) };
    }
    let is_admitted = decision.outcome.is_ok();
    match decision.outcome {
        Ok(admitted) => admitted.keep(),
        Err(rejection) => request.refuse(rejection),
    }
    is_admitted
}
