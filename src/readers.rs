//! The readers without arguments: what policies call for each row.
//!
//! They are written against PostgreSQL's function interface directly. A call costs two comparisons and hands out a
//! value that the call site made at its first row and keeps as long as its expression lives, so that it stays valid
//! in an open cursor when the identity changes.

use std::cell::Cell;

use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::{IntoDatum, direct_function_call_as_datum, pg_sys};

use crate::backend_local::BackendLocal;
use crate::clock::POSTGRES_EPOCH_MICROS;
use crate::identity::{Derived, bytes, copied, with_derived};
use crate::report::raise_expired;
use crate::session::{Identity, identity};
use crate::{request_claims, settings};

unsafe extern "C-unwind" {
    // pgrx wraps each function of PostgreSQL in a sigsetjmp, which would cost more than the reader itself. These
    // return a variable and cannot raise.
    safe fn GetCurrentStatementStartTimestamp() -> pg_sys::TimestampTz;
    safe fn GetCurrentTransactionStartTimestamp() -> pg_sys::TimestampTz;
}

/// A value in PostgreSQL's type.
pub enum Value {
    /// Passed by value.
    Plain(pg_sys::Datum),
    /// Passed by reference, of this length; -1 for a varlena.
    Reference(pg_sys::Datum, i32),
}

impl Value {
    /// Whether a datum that the same function returned before is this value.
    pub fn equals(&self, datum: pg_sys::Datum) -> bool {
        match self {
            Self::Plain(own) => *own == datum,
            // SAFETY: the projections below give each value the length of its type.
            Self::Reference(own, length) => unsafe { bytes(*own, *length) == bytes(datum, *length) },
        }
    }

    /// The datum, in a memory context of that life.
    pub fn datum_in(self, context: pg_sys::MemoryContext) -> pg_sys::Datum {
        match self {
            Self::Plain(datum) => datum,
            // SAFETY: the projections below give each value the length of its type.
            Self::Reference(datum, length) => unsafe { copied(datum, length, context) },
        }
    }
}

/// What a call site keeps in `fn_extra`.
struct CallSite {
    serial: u64,
    datum: Option<pg_sys::Datum>,
}

/// The moment that was last found to be before some identity's end: (serial, statement start).
static UNEXPIRED: BackendLocal<Cell<(u64, i64)>> = BackendLocal::new(Cell::new((0, 0)));

/// The identity in force, where its token has not expired when the present statement began. Raises 28000 where it
/// has. A transaction that a procedure began is later than the client's statement, and counts as one.
#[inline]
pub fn unexpired_identity() -> Option<Identity> {
    match unexpired_verified_identity() {
        None if settings::trust_request_claims() => unexpired(request_claims::identity()?),
        identity => identity,
    }
}

/// The same, of identities that `auth.jwt_session_init` or a login has verified.
#[inline]
pub fn unexpired_verified_identity() -> Option<Identity> {
    unexpired(identity()?)
}

/// When the present statement began.
#[inline]
fn statement_start() -> i64 {
    GetCurrentStatementStartTimestamp().max(GetCurrentTransactionStartTimestamp())
}

fn unexpired(identity: Identity) -> Option<Identity> {
    let now = (identity.serial, statement_start());
    if UNEXPIRED.get() != now {
        if has_expired(identity) {
            raise_expired();
        }
        UNEXPIRED.set(now);
    }
    Some(identity)
}

/// Whether the identity's token had expired when the present statement began.
pub fn has_expired(identity: Identity) -> bool {
    let now = statement_start().saturating_add(POSTGRES_EPOCH_MICROS);
    now >= identity.expires.saturating_add(settings::leeway_micros())
}

type Project = fn(Identity, &Derived) -> Option<Value>;

/// Answers a call. What the second row and all others take raises nothing and does not panic; the rest is guarded.
#[inline]
unsafe fn read(fcinfo: pg_sys::FunctionCallInfo, project: Project) -> pg_sys::Datum {
    // SAFETY: by contract.
    unsafe {
        let datum = match identity() {
            Some(identity) if UNEXPIRED.get() == (identity.serial, statement_start()) => kept(fcinfo, identity),
            _ => None,
        };
        result(fcinfo, datum.unwrap_or_else(|| pgrx_extern_c_guard(|| look(fcinfo, project))))
    }
}

/// What the call site keeps for this identity.
#[inline]
unsafe fn kept(fcinfo: pg_sys::FunctionCallInfo, identity: Identity) -> Option<Option<pg_sys::Datum>> {
    // SAFETY: PostgreSQL passes a call frame; `fn_extra` is ours, NULL at first, and points to what `look` put there, in
    // memory that lives as long as `flinfo`.
    let site = unsafe { (*fcinfo).flinfo.as_ref()?.fn_extra.cast::<CallSite>().as_ref()? };
    (site.serial == identity.serial).then_some(site.datum)
}

/// Hands a result to PostgreSQL.
///
/// # Safety
///
/// PostgreSQL must have passed the call frame.
#[inline]
pub unsafe fn result(fcinfo: pg_sys::FunctionCallInfo, datum: Option<pg_sys::Datum>) -> pg_sys::Datum {
    // SAFETY: by contract.
    unsafe { (*fcinfo).isnull = datum.is_none() };
    datum.unwrap_or(pg_sys::Datum::null())
}

#[cold]
unsafe fn look(fcinfo: pg_sys::FunctionCallInfo, project: Project) -> Option<pg_sys::Datum> {
    let identity = unexpired_identity()?;
    // SAFETY: the caller's.
    if let Some(datum) = unsafe { kept(fcinfo, identity) } {
        return datum;
    }
    let value = with_derived(identity, |derived| project(identity, derived));
    // SAFETY: as in `kept`. Without `flinfo` (a direct call from C) the value goes to the caller's memory context.
    unsafe {
        let Some(info) = (*fcinfo).flinfo.as_mut() else {
            return value.map(|value| value.datum_in(pg_sys::CurrentMemoryContext));
        };
        let datum = value.map(|value| value.datum_in(info.fn_mcxt));
        // A former value is not freed: an open cursor may still point to it. It goes with the expression.
        let site = pg_sys::MemoryContextAlloc(info.fn_mcxt, size_of::<CallSite>()).cast::<CallSite>();
        site.write(CallSite { serial: identity.serial, datum });
        info.fn_extra = site.cast();
        datum
    }
}

/// Exports a reader as a function of PostgreSQL's version-1 calling convention.
macro_rules! reader {
    ($symbol:ident, $info:ident, $project:expr) => {
        reader!($symbol, $info, read, $project);
    };
    ($symbol:ident, $info:ident, $read:path, $project:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            const INFO: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &INFO
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: PostgreSQL calls this with a call frame. The function guards what could panic.
            unsafe { $read(fcinfo, $project) }
        }
    };
}

pub(crate) use reader;

reader!(pg_jwks_jwt, pg_finfo_pg_jwks_jwt, |_, claims| Some(Value::Reference(claims.jsonb, -1)));
reader!(pg_jwks_user_id, pg_finfo_pg_jwks_user_id, |_, claims| text(claims, "sub"));
reader!(pg_jwks_role, pg_finfo_pg_jwks_role, |_, claims| text(claims, "role"));
reader!(pg_jwks_email, pg_finfo_pg_jwks_email, |_, claims| text(claims, "email"));
reader!(pg_jwks_uid, pg_finfo_pg_jwks_uid, |_, claims| claims.claims.uuid().and_then(uuid));
reader!(pg_jwks_organization, pg_finfo_pg_jwks_organization, |_, claims| {
    claims.claims.organization().and_then(|_| field(claims, "o", pg_sys::jsonb_object_field))
});
reader!(pg_jwks_organization_id, pg_finfo_pg_jwks_organization_id, |_, claims| {
    claims.claims.organization_id().and_then(uuid)
});
reader!(pg_jwks_expires_at, pg_finfo_pg_jwks_expires_at, |identity, _| {
    (identity.expires - POSTGRES_EPOCH_MICROS).into_datum().map(Value::Plain)
});

fn uuid(bytes: [u8; 16]) -> Option<Value> {
    pgrx::Uuid::from_bytes(bytes).into_datum().map(|datum| Value::Reference(datum, 16))
}

/// A claim at the top level as text; NULL where it is missing or JSON null.
fn text(claims: &Derived, name: &str) -> Option<Value> {
    field(claims, name, pg_sys::jsonb_object_field_text)
}

/// Applies one of PostgreSQL's `->` operators.
fn field(
    claims: &Derived,
    name: &str,
    operator: unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
) -> Option<Value> {
    // SAFETY: both operators take a jsonb and a text.
    unsafe { direct_function_call_as_datum(operator, &[Some(claims.jsonb), name.into_datum()]) }
        .map(|datum| Value::Reference(datum, -1))
}
