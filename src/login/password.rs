//! The token as the password, on any PostgreSQL and with any driver: what `pam_pg_jwks.so` asks.
//!
//! Two locks keep everybody else out. Before the client is asked for its token, the module asks whether it may:
//! over an open connection nobody is asked. And whatever the file of the PAM service says in the end, a service of ours
//! lets nobody in whose token was not admitted here.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::AssertUnwindSafe;

use pg_jwks_core::policy::pam::PamArguments;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::admission::{LoginRequest, is_admitted, log_refused};
use crate::identity::origin::Origin;
use crate::pg::backend_local::BackendLocal;
use crate::pg::{error, memory};

unsafe extern "C-unwind" {
    // `server.c`. They read what PostgreSQL knows of the client that logs in.
    safe fn pg_jwks_requested_role() -> *const c_char;
    safe fn pg_jwks_pam_service() -> *const c_char;
    safe fn pg_jwks_client_is_private() -> bool;
    fn pg_jwks_user_map_allows(map: *const c_char, authn_id: *const c_char) -> bool;
}

/// How the names of PAM services begin that are ours.
const SERVICE: &str = "pg_jwks";

/// What the file of the PAM service says, once the module has asked.
static ARGUMENTS: BackendLocal<Cell<Option<PamArguments>>> = BackendLocal::new(Cell::new(None));

/// Whether the module has asked anything.
static IS_ASKED: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(false));

/// Whether the client may be asked for its token, with these arguments of the module. Logs why not.
///
/// # Safety
///
/// `argv` must be `argc` C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pg_jwks_pam_may_ask(argc: c_int, argv: *const *const c_char) -> c_int {
    IS_ASKED.set(true);
    let count = usize::try_from(argc).unwrap_or(0);
    contained(|| {
        // SAFETY: the caller's promise.
        let arguments = (0..count).map(|index| unsafe { CStr::from_ptr(*argv.add(index)) });
        let arguments: Vec<_> = arguments.map(CStr::to_string_lossy).collect();
        match may_ask(arguments.iter().map(AsRef::as_ref)) {
            Ok(arguments) => {
                ARGUMENTS.set(Some(arguments));
                true
            }
            Err([detail, hint]) => {
                let message = format!("user \"{}\" not asked for a token", role().to_string_lossy());
                log_refused(message, detail, Some(hint));
                false
            }
        }
    })
}

/// Whether the client may log in with this token. Logs why not.
///
/// # Safety
///
/// The token must be a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pg_jwks_pam_may_log_in(token: *const c_char) -> c_int {
    contained(|| {
        // SAFETY: the caller's promise.
        let token = unsafe { CStr::from_ptr(token) }.to_bytes();
        memory::require(token.len());
        ARGUMENTS.take().is_some_and(|arguments| may_log_in(&arguments, token))
    })
}

/// Whether the client may log in.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_jwks_pam_is_admitted() -> c_int {
    c_int::from(is_admitted(Origin::Password))
}

fn may_ask<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<PamArguments, [String; 2]> {
    let service = text(pg_jwks_pam_service()).to_string_lossy();
    if !service.starts_with(SERVICE) {
        return Err([
            format!("The PAM service is called \"{service}\"."),
            format!("Give the service, and its file, a name that begins with \"{SERVICE}\"."),
        ]);
    }
    let arguments = PamArguments::parse(arguments).map_err(|problem| {
        let hint = format!("Correct the line of pam_pg_jwks.so in the file of the PAM service \"{service}\".");
        [problem, hint]
    })?;
    if !pg_jwks_client_is_private() {
        return Err([
            "The connection is not encrypted.".into(),
            "Make the line of pg_hba.conf one of type hostssl, and connect with sslmode=verify-full.".into(),
        ]);
    }
    Ok(arguments)
}

fn may_log_in(arguments: &PamArguments, token: &[u8]) -> bool {
    let request = LoginRequest { origin: Origin::Password, token, role: role(), rule: arguments.rule() };
    let decision = request.decide();
    match (decision.outcome, decision.authn_id) {
        (Ok(admitted), Some(name)) => {
            let may_have_role = arguments.rule().delegates_mapping || user_map_allows(arguments.map(), &name);
            match may_have_role {
                true => admitted.keep(),
                false => admitted.refuse_role(),
            }
            may_have_role
        }
        (Ok(_), None) => unreachable!("a token is admitted under a name"),
        (Err(rejection), _) => {
            request.refuse(rejection);
            false
        }
    }
}

/// Whether `pg_ident.conf`, or without a map the name itself, gives this user the requested role. PostgreSQL logs if not.
fn user_map_allows(map: Option<&str>, name: &str) -> bool {
    let map = map.map(CString::new).transpose();
    let (Ok(map), Ok(name)) = (map, CString::new(name)) else { return false };
    // SAFETY: NULL or C strings. An authentication is in progress.
    unsafe { pg_jwks_user_map_allows(map.as_ref().map_or(std::ptr::null(), |map| map.as_ptr()), name.as_ptr()) }
}

/// The second lock, once PostgreSQL has decided. Raises a FATAL for a client that PAM lets in without a token that was
/// admitted here, though this library was asked or should have been.
pub fn check_decision(is_authenticated: bool, service: Option<&CStr>) {
    let Some(service) = service else { return };
    let is_ours = IS_ASKED.get() || service.to_bytes().starts_with(SERVICE.as_bytes());
    if !is_ours || is_admitted(Origin::Password) {
        return;
    }
    let user = role().to_string_lossy();
    if !IS_ASKED.get() {
        let message = format!("user \"{user}\" not asked for a token");
        let detail = format!("The file of the PAM service {service:?} is missing, or does not name pam_pg_jwks.so.");
        let hint = "See docs/login.md for the file, in /etc/pam.d.";
        log_refused(message, detail, Some(hint.into()));
    } else if is_authenticated {
        let message = format!("user \"{user}\" let in by PAM without a token");
        let detail = format!("The file of the PAM service {service:?} does not require pam_pg_jwks.so.");
        let hint = "Both of its lines, auth and account, must say \"required pam_pg_jwks.so\", and stand alone.";
        log_refused(message, detail, Some(hint.into()));
    }
    if is_authenticated {
        // What PostgreSQL says of any other failure of PAM.
        error::refuse_login(format!("PAM authentication failed for user \"{user}\""));
    }
}

fn role() -> &'static CStr {
    text(pg_jwks_requested_role())
}

/// A text of the authentication; it lives as long as that.
fn text(text: *const c_char) -> &'static CStr {
    // SAFETY: NULL, or a C string that PostgreSQL keeps until the session has begun.
    unsafe { text.as_ref().map_or(c"", |first| CStr::from_ptr(first)) }
}

/// Calls `act` within PAM, whose frames no error or panic may pass: both are logged, and refuse the login.
fn contained(act: impl FnOnce() -> bool) -> c_int {
    let outcome = PgTryBuilder::new(AssertUnwindSafe(act))
        .catch_others(|error| failed(&error))
        .catch_rust_panic(|error| failed(&error))
        .execute();
    c_int::from(outcome)
}

fn failed(error: &CaughtError) -> bool {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = error;
    log_refused(
        format!("user \"{}\" not logged in: {}", role().to_string_lossy(), report.message()),
        report.detail().unwrap_or("An error ended the login.").to_owned(),
        report.hint().map(str::to_owned),
    );
    false
}
