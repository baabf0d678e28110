//! The SQL functions of tenants: `auth.tenant_id()`, `auth.tenant_ids()` and `get_current_user_tenant_id()`, which policies
//! call for each row, and `auth.set_tenant()`.

use std::ffi::c_char;

use pg_jwks_core::claims;
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::call_site::{Occasion, Value, reader};
use crate::identity::session::Identity;
use crate::pg::datum::text_datum;
use crate::pg::encoding::utf8;
use crate::tenant::dependencies::Dependencies;
use crate::tenant::{Memberships, Tenant, choose, current, error};

/// `typalign` of type text.
const ALIGNED_AS_INT: c_char = b'i' as c_char;

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

reader!(pg_jwks_tenant_id, pg_finfo_pg_jwks_tenant_id, |identity, dependencies| {
    current(identity, dependencies).map(|tenant| text(&tenant))
});
reader!(pg_jwks_tenant_uuid, pg_finfo_pg_jwks_tenant_uuid, |identity, dependencies| {
    current(identity, dependencies).map(|tenant| uuid(&tenant))
});
reader!(pg_jwks_tenant_ids, pg_finfo_pg_jwks_tenant_ids, |identity, _: Option<Dependencies>| {
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
    let mut texts: Vec<pg_sys::Datum> = tenants.iter().map(|tenant| text_datum(tenant)).collect();
    let Ok(count) = i32::try_from(texts.len()) else { unreachable!("more rows than memory holds") };
    // SAFETY: these are `count` values of type text, which has variable length and is aligned as int.
    let array =
        unsafe { pg_sys::construct_array(texts.as_mut_ptr(), count, pg_sys::TEXTOID, -1, false, ALIGNED_AS_INT) };
    Value::Reference(pg_sys::Datum::from(array), -1)
}

/// `auth.set_tenant(tenant text, is_local boolean)`. NULL and the empty string take the choice back.
#[pg_extern(sql = false)]
fn set_tenant(tenant: Option<&[u8]>, is_local: Option<bool>) {
    choose(tenant.filter(|tenant| !tenant.is_empty()), is_local.unwrap_or(false));
}
