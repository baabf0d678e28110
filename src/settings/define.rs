//! The definitions that PostgreSQL sees.

use pg_jwks_core::bounds::MAX_LEEWAY_SECONDS;
use pgrx::guc::{GucContext, GucFlags, GucRegistry};
use pgrx::pg_sys;

use super::*;

/// Trust must not be up to the user: only superusers, and those to whom they GRANT SET, can change these settings.
const TRUST: GucContext = GucContext::Suset;

/// A year, in seconds: the largest time that makes sense for any of the settings.
const YEAR: i32 = 366 * 24 * 3600;

/// Defines the settings.
pub fn define() {
    unapplied::watch(define_all);
}

fn define_all() {
    // A value can hold shared secrets, so it is shown to superusers and pg_read_all_settings only.
    let secret = GucFlags::SUPERUSER_ONLY;
    let plain = GucFlags::default();
    let text = |name, short, setting, flags, check| {
        // SAFETY: the check hooks report errors by their result and contain their panics (see `check`); the assign
        // hook only increments a counter.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                name,
                short,
                c"",
                setting,
                TRUST,
                flags,
                check,
                Some(assign_text),
                None,
            );
        }
    };
    text(c"pg_jwks.issuer", c"Accepted \"iss\" claims, separated by commas.", &ISSUER, plain, Some(check::issuer));
    text(
        c"pg_jwks.audience",
        c"Accepted \"aud\" claims, separated by commas.",
        &AUDIENCE,
        plain,
        Some(check::audience),
    );
    text(c"pg_jwks.jwks_uri", c"Where the issuer publishes its keys.", &JWKS_URI, plain, Some(check::jwks_uri));
    text(c"pg_jwks.jwks", c"The issuer's keys as a JWK Set.", &JWKS, secret, Some(check::jwks));
    text(
        c"pg_jwks.providers",
        c"Issuers with settings of their own, as a JSON array.",
        &PROVIDERS,
        secret,
        Some(check::providers),
    );
    text(
        c"pg_jwks.allowed_algorithms",
        c"Accepted signature algorithms.",
        &ALLOWED_ALGORITHMS,
        plain,
        Some(check::allowed_algorithms),
    );
    text(
        c"pg_jwks.required_scope",
        c"Scopes that a token must carry.",
        &REQUIRED_SCOPE,
        plain,
        Some(check::required_scope),
    );
    text(
        c"pg_jwks.role_claim",
        c"Path of the claim that auth.has_role() reads.",
        &ROLE_CLAIM,
        plain,
        Some(check::role_claim),
    );
    text(c"pg_jwks.role_map", c"Database roles for the roles of tokens.", &ROLE_MAP, plain, Some(check::role_map));
    text(
        c"pg_jwks.read_only_claim",
        c"Path of the claim that makes a session read-only where it is true.",
        &READ_ONLY_CLAIM,
        plain,
        Some(check::read_only_claim),
    );
    text(
        c"pg_jwks.authn_claim",
        c"Path of the claim that says who logs in.",
        &AUTHN_CLAIM,
        plain,
        Some(check::authn_claim),
    );
    text(
        c"pg_jwks.tenant_claim",
        c"Path of the claim that names the tenant.",
        &TENANT_CLAIM,
        plain,
        Some(check::tenant_claim),
    );
    text(
        c"pg_jwks.tenant_lookup",
        c"Table that says to which tenants a user belongs.",
        &TENANT_LOOKUP,
        plain,
        Some(check::tenant_lookup),
    );
    text(
        c"pg_jwks.ca_file",
        c"Trust roots for fetching keys, besides those of the system.",
        &CA_FILE,
        plain,
        Some(check::ca_file),
    );
    text(
        c"pg_jwks.audit_claims",
        c"Claims in the log of accepted tokens, separated by commas.",
        &AUDIT_CLAIMS,
        plain,
        None,
    );
    let int = |name, short, setting, min, max, unit| {
        // SAFETY: the assign hook only increments a counter.
        unsafe {
            GucRegistry::define_int_guc_with_hooks(
                name,
                short,
                c"",
                setting,
                min,
                max,
                TRUST,
                unit,
                None,
                Some(assign_int),
                None,
            );
        }
    };
    let (s, ms) = (GucFlags::UNIT_S, GucFlags::UNIT_MS);
    int(c"pg_jwks.leeway", c"Allowed clock skew.", &LEEWAY, 0, MAX_LEEWAY_SECONDS as i32, s);
    int(c"pg_jwks.max_token_age", c"Rejects tokens issued longer ago.", &MAX_TOKEN_AGE, 0, YEAR, s);
    int(c"pg_jwks.jwks_cache_ttl", c"Upper bound of the life of fetched keys.", &JWKS_CACHE_TTL, 1, YEAR, s);
    int(
        c"pg_jwks.jwks_refresh_cooldown",
        c"Least time between two fetches that unknown keys cause.",
        &JWKS_REFRESH_COOLDOWN,
        1,
        3600,
        s,
    );
    int(
        c"pg_jwks.jwks_max_stale",
        c"How long keys serve while the issuer cannot be reached.",
        &JWKS_MAX_STALE,
        0,
        YEAR,
        s,
    );
    int(c"pg_jwks.connect_timeout", c"Bound of connecting to the issuer.", &CONNECT_TIMEOUT, 10, 60_000, ms);
    int(c"pg_jwks.fetch_timeout", c"Bound of fetching keys.", &FETCH_TIMEOUT, 10, 60_000, ms);
    int(c"pg_jwks.token_cache_size", c"Verified tokens that a backend remembers.", &TOKEN_CACHE_SIZE, 0, 65_536, plain);
    // SAFETY: a plain read of a flag.
    let preloading = unsafe { pg_sys::process_shared_preload_libraries_in_progress };
    // PostgreSQL ends a session that defines a setting of the postmaster. Where the library is not preloaded, these have
    // no effect, but may be in postgresql.conf all the same.
    let fixed_at_start = || if preloading { GucContext::Postmaster } else { GucContext::Sighup };
    GucRegistry::define_int_guc(
        c"pg_jwks.shared_cache_size",
        c"Shared memory for keys, where the library is preloaded.",
        c"",
        &SHARED_CACHE_SIZE,
        64,
        64 * 1024,
        fixed_at_start(),
        GucFlags::UNIT_KB,
    );
    // SAFETY: the check hook reports errors by its result and contains its panics.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_jwks.claim_settings",
            c"Session variables that show claims.",
            c"",
            &CLAIM_SETTINGS,
            fixed_at_start(),
            plain,
            Some(check::claim_settings),
            None,
            None,
        );
    }
    let bool = |name, short, setting| {
        // SAFETY: the assign hook only increments a counter.
        unsafe {
            GucRegistry::define_bool_guc_with_hooks(
                name,
                short,
                c"",
                setting,
                TRUST,
                plain,
                None,
                Some(assign_bool),
                None,
            );
        }
    };
    bool(
        c"pg_jwks.allow_insecure_http",
        c"Allows fetching keys without TLS. For tests on one machine only.",
        &ALLOW_INSECURE_HTTP,
    );
    bool(c"pg_jwks.set_role", c"Makes auth.jwt_session_init() set the role that the token names.", &SET_ROLE);
    bool(
        c"pg_jwks.allow_superuser_login",
        c"Lets tokens log in as superusers, replication roles and pg_* roles.",
        &ALLOW_SUPERUSER_LOGIN,
    );
    bool(
        c"pg_jwks.trust_request_claims",
        c"Believes request.jwt.claims where there is no verified identity.",
        &TRUST_REQUEST_CLAIMS,
    );
    // SAFETY: the assign hook only increments a counter.
    unsafe {
        GucRegistry::define_enum_guc_with_hooks(
            c"pg_jwks.on_expiry",
            c"What happens to a session that uses an expired identity.",
            c"",
            &ON_EXPIRY,
            TRUST,
            plain,
            None,
            Some(assign_int),
            None,
        );
        GucRegistry::define_enum_guc_with_hooks(
            c"pg_jwks.session_scope",
            c"How long an identity may last.",
            c"",
            &SESSION_SCOPE,
            TRUST,
            plain,
            None,
            Some(assign_int),
            None,
        );
        GucRegistry::define_enum_guc_with_hooks(
            c"pg_jwks.token_type",
            c"Accepted kind of token.",
            c"",
            &TOKEN_TYPE,
            TRUST,
            plain,
            None,
            Some(assign_int),
            None,
        );
        GucRegistry::define_enum_guc_with_hooks(
            c"pg_jwks.audit_log",
            c"Which decisions about tokens are logged.",
            c"",
            &AUDIT_LOG,
            TRUST,
            plain,
            None,
            Some(assign_int),
            None,
        );
    }
}

/// Refuses settings `pg_jwks.*` that do not exist, so that a misspelt one is noticed.
pub fn reserve_prefix() {
    // SAFETY: the name is a literal.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(c"pg_jwks".as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(c"pg_jwks".as_ptr());
    }
}

unsafe extern "C-unwind" fn assign_text(_value: *const std::ffi::c_char, _extra: *mut std::ffi::c_void) {
    changed();
}

unsafe extern "C-unwind" fn assign_int(_value: i32, _extra: *mut std::ffi::c_void) {
    changed();
}

unsafe extern "C-unwind" fn assign_bool(_value: bool, _extra: *mut std::ffi::c_void) {
    changed();
}
