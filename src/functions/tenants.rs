//! The SQL functions of tenants: `auth.tenant_id()`, `auth.tenant_ids()` and `get_current_user_tenant_id()`, which policies
//! call for each row, and `auth.set_tenant()`.

use pg_jwks_core::claims;
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::call_site::{Occasion, Value, reader};
use crate::identity::session::Identity;
use crate::pg::datum::{text_array_datum, text_datum};
use crate::pg::encoding::utf8;
use crate::tenant::dependencies::Dependencies;
use crate::tenant::{Memberships, Tenant, choose, current, error};

impl Occasion for Dependencies {
    #[inline]
    fn present(identity: Identity) -> Option<Self> {
        Self::now(identity)
    }

    #[inline]
    fn holds(&self, identity: Identity) -> bool {
        self.is_present(identity)
    }
}

reader!(pg_jwks_tenant_id, pg_finfo_pg_jwks_tenant_id, |identity, dependencies, _| {
    current(identity, dependencies).map(|tenant| text(&tenant))
});
reader!(pg_jwks_tenant_uuid, pg_finfo_pg_jwks_tenant_uuid, |identity, dependencies, _| {
    current(identity, dependencies).map(|tenant| uuid(&tenant))
});
reader!(pg_jwks_tenant_ids, pg_finfo_pg_jwks_tenant_ids, |identity, _: Option<Dependencies>, _| {
    Some(texts(&Memberships::of(identity).0.all()))
});

fn uuid(tenant: &[u8]) -> Value {
    let bytes = utf8(tenant).and_then(|text| claims::uuid(&text));
    let datum = bytes.and_then(|bytes| pgrx::Uuid::from_bytes(bytes).into_datum());
    Value::Reference(datum.unwrap_or_else(|| error::raise_tenant_not_uuid()), 16)
}

fn text(tenant: &[u8]) -> Value {
    Value::Reference(text_datum(tenant), -1)
}

fn texts(tenants: &[Tenant]) -> Value {
    Value::Reference(text_array_datum(tenants), -1)
}

/// `auth.set_tenant(tenant text, is_local boolean)`. NULL and the empty string take the choice back.
#[pg_extern(sql = false)]
fn set_tenant(tenant: Option<&[u8]>, is_local: Option<bool>) {
    choose(tenant.filter(|tenant| !tenant.is_empty()), is_local.unwrap_or(false));
}
