//! Logging in to PostgreSQL 18 with a token: the OAuth validator (`oauth_validator_libraries`).
//!
//! It decides with the same settings, keys and reasons as `auth.jwt_session_init`, and the claims of a token that may
//! log in are at once the session's identity. The client learns that it was refused, and nothing else; the log says why.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};

use pg_jwks_core::jose::presented::Presented;
use pg_jwks_core::policy::login::{HbaLine, authn_id, check_database_role};
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::role::database_role;
use crate::identity::session;
use crate::identity::verification::{self, Verification};
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::now;
use crate::pg::memory;
use crate::settings::{self, Settings};
use crate::telemetry::audit;
use crate::telemetry::counters::{count, counters};

unsafe extern "C-unwind" {
    /// The callbacks that `validator.c` defines.
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
    memory::require(0);
    // SAFETY: the caller passes NULL or C strings, which live as long as the authentication.
    let text = |text: *const c_char| unsafe { text.as_ref().map_or(c"", |first| CStr::from_ptr(first)) };
    let (issuer, scope) = (text(issuer).to_string_lossy(), text(scope).to_string_lossy());
    let login = LoginRequest {
        token: text(token).to_bytes(),
        role: text(role),
        line: HbaLine { issuer: &issuer, scope: &scope, delegates_mapping },
    };
    let decision = login.decide();
    if let Some(name) = decision.authn_id.and_then(|name| CString::new(name).ok()) {
        // SAFETY: the caller's pointer is valid for writing; a C string is copied into the current memory context, which
        // is what PostgreSQL asks for.
        unsafe { *authn_id = pg_sys::pstrdup(name.as_ptr()) };
    }
    let user = login.role.to_string_lossy();
    let token = Presented::of(login.token);
    match decision.outcome {
        Ok(verification) => {
            ADMITTED.set(Some(Admitted { verification, token, user: user.into_owned() }));
            true
        }
        Err(rejection) => {
            refuse(&user, token, rejection);
            false
        }
    }
}

/// A token that may log in, as far as this library decides.
struct Admitted {
    verification: Verification,
    token: Presented,
    user: String,
}

static ADMITTED: BackendLocal<RefCell<Option<Admitted>>> = BackendLocal::new(RefCell::new(None));

/// Called once PostgreSQL has compared names, or looked into `pg_ident.conf`, and has decided.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn pg_jwks_authentication_decided(is_authenticated: bool) {
    let Some(Admitted { verification, token, user }) = ADMITTED.take() else { return };
    match is_authenticated {
        true => {
            let claims = &verification.claims;
            session::log_in(claims, verification.digest, settings::current().forbids_writing(claims));
            count(&counters().accepted);
            audit::login_accepted(claims, &user);
        }
        false => {
            let detail = "Whom the token names may not have the requested role.";
            let hint = "Check pg_jwks.authn_claim, and the map in pg_ident.conf.";
            refuse(&user, token, Rejection::new(Reason::RoleNotAccepted, detail).hint(hint));
        }
    }
}

fn refuse(user: &str, token: Presented, rejection: Rejection) {
    counters().count_rejected(rejection.reason);
    audit::login_rejected(&rejection, token, now(), user);
    log_refused_login(user, rejection);
}

/// Logs why a login was refused: the client is not told.
fn log_refused_login(user: &str, rejection: Rejection) {
    let message = format!("OAuth token rejected for user \"{user}\": {}", rejection.reason.text());
    let sqlstate = PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
    let mut report = ErrorReport::new(sqlstate, message, "pg_jwks").set_detail(rejection.detail);
    if let Some(hint) = rejection.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::LOG_SERVER_ONLY);
}

/// A request to log in.
struct LoginRequest<'a> {
    token: &'a [u8],
    role: &'a CStr,
    line: HbaLine<'a>,
}

struct Decision {
    /// Who the bearer is, also if the role is not his.
    authn_id: Option<String>,
    outcome: Result<Verification, Rejection>,
}

impl LoginRequest<'_> {
    fn decide(&self) -> Decision {
        let settings = settings::current();
        let mut authn_id = None;
        let outcome = self.admitted(&settings, &mut authn_id);
        Decision { authn_id, outcome }
    }

    fn admitted(&self, settings: &Settings, name: &mut Option<String>) -> Result<Verification, Rejection> {
        self.line.check_issuer(verification::providers(settings)?)?;
        let verification = verification::verified(self.token, now())?;
        let claims = &verification.claims;
        let provider = claims.provider();
        self.line.check_token(claims, provider)?;
        *name = Some(authn_id(claims, provider)?);
        self.line.check_role(claims, provider, &settings.role_map, self.role.to_str().ok())?;
        check_database_role(self.role.to_bytes(), database_role(self.role), settings.allow_superuser_login)?;
        Ok(verification)
    }
}
