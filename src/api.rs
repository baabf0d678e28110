//! The SQL functions that take arguments or change the session: argument, call, report. Their declarations are in
//! `sql/`.

use std::sync::Arc;

use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::verify::Claims;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use pgrx::{direct_function_call_as_datum, pg_sys};

use crate::clock::now;
use crate::identity::{self, utf8, with_derived};
use crate::readers::unexpired_identity;
use crate::settings::SessionScope;
use crate::statistics::{count, counters};
use crate::{audit, privileges, report, session, settings, tenant, verification};

/// `auth.jwt_session_init(token text, is_local boolean)`. Not STRICT: NULL must fail closed like any other bad token.
#[pg_extern(sql = false)]
fn jwt_session_init(token: Option<&[u8]>, is_local: Option<bool>) {
    let attempt = session::attempt();
    let privileges = privileges::attempt();
    let settings = settings::current();
    let is_local = is_local.unwrap_or(false);
    if !is_local && settings.session_scope == SessionScope::Transaction {
        report::raise_session_scope();
    }
    let admitted = token
        .ok_or_else(|| Rejection::new(Reason::TokenMissing, "The token is NULL."))
        .and_then(admitted)
        .and_then(|claims| privileges.set(claims.set(), &settings, is_local).map(|()| claims));
    match admitted {
        Err(rejection) => {
            counters().count_rejected(rejection.reason);
            audit::rejected(&rejection, now());
            report::raise(rejection)
        }
        Ok(claims) => {
            count(&counters().accepted);
            audit::accepted(claims.set());
            let read_only = privileges::is_read_only(claims.set(), &settings);
            attempt.set(claims.json(), claims.expires().micros(), read_only, is_local);
            privileges.succeed();
        }
    }
}

/// The claims of a token that is accepted and that this database can hold.
fn admitted(token: &[u8]) -> Result<Arc<Claims>, Rejection> {
    let verification = verification::verified(token, now())?;
    if verification.fresh {
        identity::check_representable(verification.claims.json());
        verification::remember(token, verification.claims.clone());
    } else {
        count(&counters().remembered);
    }
    Ok(verification.claims)
}

/// `auth.jwt_session_clear()`.
#[pg_extern(sql = false)]
fn jwt_session_clear() {
    session::clear();
    privileges::clear();
}

/// `auth.init()`.
#[pg_extern(sql = false)]
fn init() {}

/// `auth.claim(VARIADIC path text[])`: the operator `#>>` on the claims.
#[pg_extern(sql = false)]
fn claim(path: pgrx::AnyArray) -> Option<pgrx::AnyElement> {
    let identity = unexpired_identity()?;
    with_derived(identity, |derived| {
        // SAFETY: jsonb_extract_path_text takes a jsonb and a text[], and returns a text in the caller's context.
        unsafe {
            let text = direct_function_call_as_datum(
                pg_sys::jsonb_extract_path_text,
                &[Some(derived.jsonb), Some(path.datum())],
            )?;
            pgrx::AnyElement::from_polymorphic_datum(text, false, pg_sys::TEXTOID)
        }
    })
}

/// `auth.has_scope(scope text)`. Never NULL.
#[pg_extern(sql = false)]
fn has_scope(scope: Option<&[u8]>) -> bool {
    let (Some(scope), Some(identity)) = (scope, unexpired_identity()) else { return false };
    let Some(scope) = utf8(scope) else { return false };
    with_derived(identity, |derived| derived.claims.has_scope(&scope))
}

/// `auth.has_role(role text)`. Never NULL.
#[pg_extern(sql = false)]
fn has_role(role: Option<&[u8]>) -> bool {
    let (Some(role), Some(identity)) = (role, unexpired_identity()) else { return false };
    let Some(role) = utf8(role) else { return false };
    let settings = settings::current();
    with_derived(identity, |derived| {
        let provider = settings.provider_of(&derived.claims);
        provider.is_some_and(|provider| derived.claims.has_role(&provider.role_claim, &role))
    })
}

/// `auth.set_tenant(tenant text, is_local boolean)`. NULL and the empty string take the choice back.
#[pg_extern(sql = false)]
fn set_tenant(tenant: Option<&[u8]>, is_local: Option<bool>) {
    tenant::choose(tenant.filter(|tenant| !tenant.is_empty()), is_local.unwrap_or(false));
}

/// `auth.jwt_explain(token text)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn jwt_explain(
    token: Option<&[u8]>,
) -> TableIterator<'static, (name!(check, String), name!(ok, Option<bool>), name!(detail, Option<String>))> {
    let findings =
        verification::explained(token.unwrap_or_default(), now()).unwrap_or_else(|error| report::raise(error));
    TableIterator::new(findings.into_iter().map(|finding| (finding.check.name().into(), finding.ok, finding.detail)))
}
