//! The readers of claims without arguments: what policies call for each row.

use pg_jwks_core::claims;
use pgrx::{IntoDatum, pg_sys};

use super::call_site::{Occasion, Value, reader};
use crate::identity::derived::{Derived, with_derived};
use crate::identity::session::Identity;
use crate::identity::standing::is_known_to_stand;
use crate::pg::clock::to_postgres;
use crate::pg::datum::text_datum;
use crate::pg::encoding::server_encoded;
use crate::settings;

/// Claims stay as they are for as long as their identity is in force.
#[derive(Clone, Copy)]
pub struct SameIdentity {
    serial: u64,
}

impl Occasion for SameIdentity {
    fn present(identity: Identity) -> Option<Self> {
        Some(Self { serial: identity.serial })
    }

    #[inline]
    fn holds(&self, identity: Identity) -> bool {
        is_known_to_stand(identity) && self.serial == identity.serial
    }
}

/// Who the user is, and which roles a token has, depends on settings too.
#[derive(Clone, Copy)]
pub struct SameSettings {
    serial: u64,
    settings: u64,
}

impl Occasion for SameSettings {
    fn present(identity: Identity) -> Option<Self> {
        Some(Self { serial: identity.serial, settings: settings::generation() })
    }

    #[inline]
    fn holds(&self, identity: Identity) -> bool {
        is_known_to_stand(identity) && self.serial == identity.serial && self.settings == settings::generation()
    }
}

/// Exports a reader of the user.
macro_rules! user_reader {
    ($symbol:ident, $info:ident, $project:expr) => {
        reader!($symbol, $info, |identity, _: Option<SameSettings>, _| user(identity).and_then($project));
    };
}

/// Exports a reader of the identity's claims.
macro_rules! claim_reader {
    ($symbol:ident, $info:ident, $project:expr) => {
        reader!($symbol, $info, |identity, _: Option<SameIdentity>, _| with_derived(identity, $project));
    };
}

claim_reader!(pg_jwks_jwt, pg_finfo_pg_jwks_jwt, |claims| Some(varlena(claims.jsonb().datum())));
user_reader!(pg_jwks_user_id, pg_finfo_pg_jwks_user_id, |user| Some(varlena(text_datum(&server_encoded(&user)))));
user_reader!(pg_jwks_uid, pg_finfo_pg_jwks_uid, |user| claims::uuid(&user).and_then(uuid));
claim_reader!(pg_jwks_role, pg_finfo_pg_jwks_role, |claims| text(claims, "role"));
claim_reader!(pg_jwks_email, pg_finfo_pg_jwks_email, |claims| text(claims, "email"));
claim_reader!(pg_jwks_organization, pg_finfo_pg_jwks_organization, |claims| {
    claims.claims.organization().and_then(|_| claims.jsonb().member("o")).map(varlena)
});
claim_reader!(pg_jwks_organization_id, pg_finfo_pg_jwks_organization_id, |claims| {
    claims.claims.organization_id().and_then(uuid)
});
claim_reader!(pg_jwks_actor, pg_finfo_pg_jwks_actor, |claims| {
    claims.claims.actor().map(|actor| varlena(text_datum(&server_encoded(actor))))
});
reader!(pg_jwks_expires_at, pg_finfo_pg_jwks_expires_at, |identity, _: Option<SameIdentity>, _| {
    to_postgres(identity.expires).into_datum().map(Value::Plain)
});

/// The user of the identity that readers see.
fn user(identity: Identity) -> Option<String> {
    with_derived(identity, |derived| settings::current().user_of(&derived.claims))
}

fn uuid(bytes: [u8; 16]) -> Option<Value> {
    pgrx::Uuid::from_bytes(bytes).into_datum().map(|datum| Value::Reference(datum, 16))
}

/// A claim at the top level as text; NULL if it is missing or JSON null.
fn text(claims: &Derived, name: &str) -> Option<Value> {
    claims.jsonb().text(name).map(varlena)
}

/// A varlena.
pub fn varlena(datum: pg_sys::Datum) -> Value {
    Value::Reference(datum, -1)
}
