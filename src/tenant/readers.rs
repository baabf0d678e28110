//! `auth.tenant_id()`, `auth.tenant_ids()` and `get_current_user_tenant_id()`, as policies call them for each row.
//!
//! PostgreSQL evaluates a STABLE function at each row, so a call site keeps what it found, for as long as nothing has
//! happened that could change it.

use std::ffi::c_char;

use pg_jwks_core::claims;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::{IntoDatum, pg_sys};

use super::moment::Moment;
use super::{Memberships, Tenant, current};
use crate::identity::utf8;
use crate::readers::{Value, reader, result, unexpired_identity};
use crate::report;
use crate::session::{Identity, identity};

/// `typalign` of type text.
const ALIGNED_AS_INT: c_char = b'i' as c_char;

/// What a call site keeps in `fn_extra`.
struct CallSite {
    moment: Moment,
    datum: Option<pg_sys::Datum>,
}

type Find = fn(Identity, Option<Moment>) -> Option<Value>;

/// Answers a call. What the second row and all others take raises nothing and does not panic; the rest is guarded.
#[inline]
unsafe fn read(fcinfo: pg_sys::FunctionCallInfo, find: Find) -> pg_sys::Datum {
    // SAFETY: by contract.
    unsafe {
        // A call of the same moment needs no other look at the time.
        let datum = identity().and_then(|identity| kept(fcinfo, identity));
        result(fcinfo, datum.unwrap_or_else(|| pgrx_extern_c_guard(|| look(fcinfo, find))))
    }
}

/// What the call site keeps for the present moment of this identity.
#[inline]
unsafe fn kept(fcinfo: pg_sys::FunctionCallInfo, identity: Identity) -> Option<Option<pg_sys::Datum>> {
    // SAFETY: PostgreSQL passes a call frame; `fn_extra` is ours, NULL at first, and points to what `look` put there, in
    // memory that lives as long as `flinfo`.
    let site = unsafe { (*fcinfo).flinfo.as_ref()?.fn_extra.cast::<CallSite>().as_ref()? };
    site.moment.is_present(identity).then_some(site.datum)
}

#[cold]
unsafe fn look(fcinfo: pg_sys::FunctionCallInfo, find: Find) -> Option<pg_sys::Datum> {
    let identity = unexpired_identity()?;
    // SAFETY: the caller's.
    if let Some(datum) = unsafe { kept(fcinfo, identity) } {
        return datum;
    }
    let moment = Moment::now(identity);
    let value = find(identity, moment);
    // SAFETY: as in `kept`. Without `flinfo` (a direct call from C) the value goes to the caller's memory context.
    unsafe {
        let (Some(info), Some(moment)) = ((*fcinfo).flinfo.as_mut(), moment) else {
            return value.map(|value| value.datum_in(pg_sys::CurrentMemoryContext));
        };
        let known = info.fn_extra.cast::<CallSite>();
        let datum = match (value, known.as_ref().and_then(|site| site.datum)) {
            // A loop that asks again and again must not fill the memory.
            (Some(value), Some(datum)) if value.equals(datum) => Some(datum),
            // A former value is not freed: an open cursor may still point to it. It goes with the expression.
            (value, _) => value.map(|value| value.datum_in(info.fn_mcxt)),
        };
        let site = match known.is_null() {
            true => pg_sys::MemoryContextAlloc(info.fn_mcxt, size_of::<CallSite>()).cast(),
            false => known,
        };
        site.write(CallSite { moment, datum });
        info.fn_extra = site.cast();
        datum
    }
}

reader!(pg_jwks_tenant_id, pg_finfo_pg_jwks_tenant_id, read, |identity, moment| {
    current(identity, moment).map(|tenant| text(&tenant))
});
reader!(pg_jwks_tenant_uuid, pg_finfo_pg_jwks_tenant_uuid, read, |identity, moment| {
    current(identity, moment).map(|tenant| uuid(&tenant))
});
reader!(pg_jwks_tenant_ids, pg_finfo_pg_jwks_tenant_ids, read, |identity, _| {
    Some(texts(&Memberships::of(identity).0.all()))
});

fn uuid(tenant: &[u8]) -> Value {
    let bytes = utf8(tenant).and_then(|text| claims::uuid(&text));
    let datum = bytes.and_then(|bytes| pgrx::Uuid::from_bytes(bytes).into_datum());
    Value::Reference(datum.unwrap_or_else(|| report::raise_tenant_not_uuid()), 16)
}

fn text(tenant: &[u8]) -> Value {
    Value::Reference(text_datum(tenant), -1)
}

/// Text of the database as a datum in the current memory context. A bytea is laid out alike.
pub fn text_datum(text: &[u8]) -> pg_sys::Datum {
    let Some(datum) = text.into_datum() else { unreachable!("bytes are never NULL") };
    datum
}

fn texts(tenants: &[Tenant]) -> Value {
    let mut texts: Vec<pg_sys::Datum> = tenants.iter().map(|tenant| text_datum(tenant)).collect();
    let Ok(count) = i32::try_from(texts.len()) else { unreachable!("more rows than memory holds") };
    // SAFETY: these are `count` values of type text, which has variable length and is aligned as int.
    let array =
        unsafe { pg_sys::construct_array(texts.as_mut_ptr(), count, pg_sys::TEXTOID, -1, false, ALIGNED_AS_INT) };
    Value::Reference(pg_sys::Datum::from(array), -1)
}
