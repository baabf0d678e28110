//! The check hooks: nonsense is refused when it is set, and says how to do better.

use std::ffi::{CStr, c_char, c_void};
use std::fs;
use std::path::Path;

use pg_jwks_core::bounds::{MAX_DOCUMENT_BYTES, MAX_PROVIDERS};
use pg_jwks_core::claims::ClaimPath;
use pg_jwks_core::jose::algorithm::Algorithms;
use pg_jwks_core::policy::claim_settings;
use pg_jwks_core::policy::membership_table::MembershipTable;
use pg_jwks_core::policy::provider::{Audience, Source, check_scopes, list};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::role_map::RoleMap;
use pgrx::pg_sys;
use pgrx::prelude::PgSqlErrorCode;

use super::certificates::certificates;
use crate::pg::error::refuse_setting;

/// A hook that accepts what its parser accepts. The parser's error is the DETAIL; the HINT is fixed.
macro_rules! check_hook {
    ($name:ident, $parse:expr, $hint:literal) => {
        pub(super) unsafe extern "C-unwind" fn $name(
            value: *mut *mut c_char,
            _extra: *mut *mut c_void,
            _source: pg_sys::GucSource::Type,
        ) -> bool {
            // SAFETY: PostgreSQL passes a pointer to a C string or NULL, valid during the call.
            let text = unsafe { (*value).as_ref().map(|first| CStr::from_ptr(first)) };
            accepts(text, $parse, concat!("pg_jwks.", stringify!($name)), $hint)
        }
    };
}

check_hook!(
    issuer,
    |text| match list(text) {
        issuers if issuers.len() > MAX_PROVIDERS => Err(format!("There are more than {MAX_PROVIDERS} issuers.")),
        issuers if issuers.iter().any(|issuer| issuer.contains(['"', '\n'])) => {
            Err("An issuer has a quote or a line break in it.".into())
        }
        _ => Ok(()),
    },
    "Set it to the \"iss\" of your tokens, to the letter, for example https://login.example.com/."
);
check_hook!(audience, |text| Audience::parse(text).map(drop), "Set it to the \"aud\" of your tokens, or to * alone.");
check_hook!(
    jwks_uri,
    |text| match text.trim().is_empty() {
        true => Ok(()),
        false => Source::parse_uri(text).map(drop),
    },
    "Use https://login.example.com/jwks.json or file:/etc/postgresql/keys.pem."
);
check_hook!(
    jwks,
    |text| match text.trim().is_empty() {
        true => Ok(()),
        false => Source::parse_inline(text).map(drop),
    },
    "Use a JWK Set: {\"keys\": [...]}."
);
check_hook!(
    providers,
    Providers::check,
    "Use a JSON array such as [{\"issuer\": \"https://login.example.com/\", \"audience\": \"app\"}]. Members are issuer, audience, jwks_uri, jwks, allowed_algorithms, required_scope, role_claim, tenant_claim, authn_claim and token_type."
);
check_hook!(
    allowed_algorithms,
    |text| Algorithms::parse(text).map(drop),
    "Use a list such as RS256, ES256. Symmetric algorithms work with keys from pg_jwks.jwks or a file only."
);
check_hook!(required_scope, check_scopes, "Separate scopes with spaces.");
check_hook!(
    role_claim,
    |text| ClaimPath::parse(text).map(drop),
    "Use a claim's name, names with dots between them (realm_access.roles), or a JSON array of names."
);
check_hook!(
    authn_claim,
    |text| ClaimPath::parse(text).map(drop),
    "Use a claim's name, names with dots between them (act.sub), or a JSON array of names."
);
check_hook!(
    tenant_claim,
    optional_claim_path,
    "Use a claim's name, names with dots between them (org.id), or a JSON array of names."
);
check_hook!(
    read_only_claim,
    optional_claim_path,
    "Use a claim's name, names with dots between them (app.read_only), or a JSON array of names."
);
check_hook!(role_map, |text| RoleMap::parse(text).map(drop), "Use a list such as admin=app_admin, writer=app_writer.");
check_hook!(
    tenant_lookup,
    |text| MembershipTable::parse(text).map(drop),
    "Use a table with its schema and two columns, such as public.users (id, tenant_id)."
);
check_hook!(
    claim_settings,
    |text| claim_settings::parse(text).map(drop),
    "Use a list such as app.user_id=sub, app.tenant_id=org.id, request.jwt.claims=*."
);
check_hook!(ca_file, ca_file_problem, "Use the absolute path of a PEM file that the server can read.");

fn accepts(text: Option<&CStr>, parse: fn(&str) -> Result<(), String>, name: &str, hint: &str) -> bool {
    let outcome = match text.map(CStr::to_str) {
        None => Ok(()),
        Some(Err(_)) => Err("The value is not UTF-8.".into()),
        // A panic must not reach PostgreSQL's C code, which would not expect it here.
        Some(Ok(text)) => {
            std::panic::catch_unwind(|| parse(text)).unwrap_or_else(|_| Err("The value cannot be read.".into()))
        }
    };
    match outcome {
        Ok(()) => true,
        Err(detail) => {
            // The message does not repeat the value: it can be a secret.
            refuse_setting(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                &format!("invalid value for parameter \"{name}\""),
                &detail,
                hint,
            );
            false
        }
    }
}

fn optional_claim_path(text: &str) -> Result<(), String> {
    match text.trim().is_empty() {
        true => Ok(()),
        false => ClaimPath::parse(text).map(drop),
    }
}

fn ca_file_problem(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    // SAFETY: a plain read of a flag. A parallel worker takes over what its leader checked, and must not fail
    // because the file has changed since.
    if unsafe { pg_sys::InitializingParallelWorker } {
        return Ok(());
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("The path is not absolute.".into());
    }
    // Opening a FIFO would hang, so the type comes first.
    let metadata = fs::metadata(path).map_err(|error| format!("The file cannot be read: {error}."))?;
    if !metadata.is_file() || metadata.len() > MAX_DOCUMENT_BYTES as u64 {
        return Err(format!("It is not a regular file of at most {MAX_DOCUMENT_BYTES} bytes."));
    }
    let pem = fs::read(path).map_err(|error| format!("The file cannot be read: {error}."))?;
    match certificates(&pem).is_empty() {
        true => Err("The file has no certificate in PEM form.".into()),
        false => Ok(()),
    }
}
