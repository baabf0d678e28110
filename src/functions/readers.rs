//! The readers of claims without arguments: what policies call for each row.

use pgrx::{IntoDatum, pg_sys};

use super::call_site::{Occasion, Value, reader};
use crate::identity::derived::{Derived, with_derived};
use crate::identity::session::Identity;
use crate::identity::standing::is_known_to_stand;
use crate::pg::clock::to_postgres;
use crate::pg::datum::text_datum;
use crate::pg::encoding::server_encoded;

/// Claims stay as they are for as long as their identity is in force.
#[derive(Clone, Copy)]
struct SameIdentity {
    serial: u64,
}

impl Occasion for SameIdentity {
    fn present(identity: Identity) -> Option<Self> {
        Some(Self { serial: identity.serial })
    }

    #[inline]
    fn holds(&self, identity: Identity) -> bool {
        self.serial == identity.serial && is_known_to_stand(identity)
    }
}

/// Exports a reader of the identity's claims.
macro_rules! claim_reader {
    ($symbol:ident, $info:ident, $project:expr) => {
        reader!($symbol, $info, |identity, _: Option<SameIdentity>| with_derived(identity, $project));
    };
}

claim_reader!(pg_jwks_jwt, pg_finfo_pg_jwks_jwt, |claims| Some(varlena(claims.jsonb.datum())));
claim_reader!(pg_jwks_user_id, pg_finfo_pg_jwks_user_id, |claims| text(claims, "sub"));
claim_reader!(pg_jwks_role, pg_finfo_pg_jwks_role, |claims| text(claims, "role"));
claim_reader!(pg_jwks_email, pg_finfo_pg_jwks_email, |claims| text(claims, "email"));
claim_reader!(pg_jwks_uid, pg_finfo_pg_jwks_uid, |claims| claims.claims.uuid().and_then(uuid));
claim_reader!(pg_jwks_organization, pg_finfo_pg_jwks_organization, |claims| {
    claims.claims.organization().and_then(|_| claims.jsonb.member("o")).map(varlena)
});
claim_reader!(pg_jwks_organization_id, pg_finfo_pg_jwks_organization_id, |claims| {
    claims.claims.organization_id().and_then(uuid)
});
claim_reader!(pg_jwks_actor, pg_finfo_pg_jwks_actor, |claims| {
    claims.claims.actor().map(|actor| varlena(text_datum(&server_encoded(actor))))
});
reader!(pg_jwks_expires_at, pg_finfo_pg_jwks_expires_at, |identity, _: Option<SameIdentity>| {
    to_postgres(identity.expires).into_datum().map(Value::Plain)
});

fn uuid(bytes: [u8; 16]) -> Option<Value> {
    pgrx::Uuid::from_bytes(bytes).into_datum().map(|datum| Value::Reference(datum, 16))
}

/// A claim at the top level as text; NULL if it is missing or JSON null.
fn text(claims: &Derived, name: &str) -> Option<Value> {
    claims.jsonb.text(name).map(varlena)
}

fn varlena(datum: pg_sys::Datum) -> Value {
    Value::Reference(datum, -1)
}
