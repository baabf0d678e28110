//! The readers of claims with arguments.

use pgrx::prelude::*;

use crate::identity::derived::with_derived;
use crate::identity::standing::standing_identity;
use crate::pg::encoding::utf8;
use crate::settings;

/// `auth.claim(VARIADIC path text[])`: the operator `#>>` on the claims.
#[pg_extern(sql = false)]
fn claim(path: pgrx::AnyArray) -> Option<pgrx::AnyElement> {
    let identity = standing_identity()?;
    with_derived(identity, |derived| derived.jsonb.text_at(&path))
}

/// `auth.has_scope(scope text)`. Never NULL.
#[pg_extern(sql = false)]
fn has_scope(scope: Option<&[u8]>) -> bool {
    let (Some(scope), Some(identity)) = (scope, standing_identity()) else { return false };
    let Some(scope) = utf8(scope) else { return false };
    with_derived(identity, |derived| derived.claims.has_scope(&scope))
}

/// `auth.has_role(role text)`. Never NULL.
#[pg_extern(sql = false)]
fn has_role(role: Option<&[u8]>) -> bool {
    let (Some(role), Some(identity)) = (role, standing_identity()) else { return false };
    let Some(role) = utf8(role) else { return false };
    let settings = settings::current();
    with_derived(identity, |derived| {
        let provider = settings.provider_of(&derived.claims);
        provider.is_some_and(|provider| derived.claims.has_role(&provider.role_claim, &role))
    })
}
