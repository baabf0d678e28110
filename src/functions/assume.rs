//! `auth.assume_identity(claims jsonb, is_local boolean)`: an identity without a token, for jobs, support and tests.

use pg_jwks_core::claims::AssumedClaims;
use pgrx::prelude::*;
use pgrx::{AnyElement, pg_sys};

use super::jwt_session::check_scope;
use crate::enforcement::{read_only, role};
use crate::identity::judgement::{self, Trust};
use crate::identity::session::{Kept, Privilege, Replacement};
use crate::identity::{assumption, verification};
use crate::pg::clock::now;
use crate::pg::jsonb::{self, check_representable};
use crate::pg::user::{current_user, session_user_name};
use crate::pg::{error, invalidation, memory};
use crate::settings;
use crate::telemetry::audit;

/// `auth.assume_identity(claims jsonb, is_local boolean)`. Not STRICT: NULL must fail closed like other claims that cannot be
/// taken. Raises 22023 for those, and 28000 or 55000 as `auth.jwt_session_init()` does for a role or settings.
#[pg_extern(sql = false)]
fn assume_identity(claims: Option<AnyElement>, is_local: Option<bool>, fcinfo: pg_sys::FunctionCallInfo) {
    let is_local = is_local.unwrap_or(false);
    let replacement = Replacement::begin(is_local);
    let role = role::Change::begin();
    memory::require(0);
    invalidation::learn();
    assumption::watch();
    let trust = Trust::now();
    let settings = settings::current();
    check_scope(&settings, is_local);
    if let Err(rejection) = verification::providers(&settings) {
        error::raise_rejection(rejection);
    }
    let claims = stated(claims, settings.only_issuer()).unwrap_or_else(|problem| raise_not_accepted(problem));
    check_representable(claims.json(), &claims);
    let Some(provider) = settings.provider_of(&claims) else {
        raise_not_accepted("Claim \"iss\" is not that of a trusted issuer.".into())
    };
    if provider.misnames_user(&claims) {
        raise_not_accepted("The claim that names the user is neither a string nor a whole number.".into());
    }
    if let Err(rejection) = role.set(&claims, provider, &settings, is_local) {
        error::raise_rejection(rejection);
    }
    let is_read_only = settings.forbids_writing(&claims);
    if is_read_only {
        read_only::restrict_transaction();
    }
    // SAFETY: PostgreSQL has called this function by its OID.
    let function = unsafe { (*(*fcinfo).flinfo).fn_oid };
    let privilege = Privilege { role: current_user().0, function };
    audit::assumed(&claims, provider.user(&claims));
    replacement.set(&claims, Kept::assumed(&claims, privilege, is_read_only), is_local);
    judgement::is_judged_by(trust, &claims, &settings);
    role.succeed();
}

fn stated(claims: Option<AnyElement>, issuer: Option<&str>) -> Result<AssumedClaims, String> {
    // SAFETY: the function is declared to take a jsonb.
    let json = claims.and_then(|claims| unsafe { jsonb::text(claims.datum()) }).ok_or("The claims are NULL.")?;
    AssumedClaims::state(&json, &session_user_name().unwrap_or_default(), issuer, now())
}

fn raise_not_accepted(detail: String) -> ! {
    error::raise(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        "claims not accepted".into(),
        detail,
        Some("State claims as a token of the user would have them, such as {\"sub\": \"alice\"}.".into()),
    )
}
