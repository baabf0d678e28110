//! The one way in which a reader answers PostgreSQL: what a call site found at its first row it keeps in `fn_extra`, for
//! as long as that is sure to be what it would find again.
//!
//! PostgreSQL evaluates a STABLE function at each row. A call costs a few comparisons and hands out a value that lives
//! as long as its expression, so that it stays valid in an open cursor when the identity changes.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;

use crate::identity::session::{Identity, identity};
use crate::identity::standing::standing_identity;
use crate::pg::datum::{bytes, copied};
use crate::pg::list::nodes;

/// A value in PostgreSQL's type.
pub enum Value {
    /// Passed by value.
    Plain(pg_sys::Datum),
    /// Passed by reference, of this length; -1 for a varlena.
    Reference(pg_sys::Datum, i32),
}

impl Value {
    /// Whether a datum that the same reader returned before is this value.
    fn equals(&self, datum: pg_sys::Datum) -> bool {
        match self {
            Self::Plain(own) => *own == datum,
            // SAFETY: a reader gives each of its values the length of its type, and returns one type only. The former
            // datum is a copy that lives as long as its call site.
            Self::Reference(own, length) => unsafe { bytes(*own, *length) == bytes(datum, *length) },
        }
    }

    /// The datum, in a memory context of that life.
    fn datum_in(self, context: pg_sys::MemoryContext) -> pg_sys::Datum {
        match self {
            Self::Plain(datum) => datum,
            // SAFETY: a reader gives each of its values the length of its type.
            Self::Reference(datum, length) => unsafe { copied(datum, length, context) },
        }
    }
}

/// What a value was found for, by which a call site knows that it still holds.
pub trait Occasion: Copy {
    /// The present one, in a statement of `identity`; `None` if a value cannot be kept.
    fn present(identity: Identity) -> Option<Self>;

    /// Whether a value that was found then is what would be found now, for the identity in force.
    fn holds(&self, identity: Identity) -> bool;
}

/// What a call site keeps in `fn_extra`.
struct CallSite<O> {
    occasion: O,
    datum: Option<pg_sys::Datum>,
}

/// How a reader finds its value for an identity, on an occasion, with the arguments of the call.
pub type Find<O> = fn(Identity, Option<O>, Arguments) -> Option<Value>;

/// The arguments of a call.
#[derive(Clone, Copy)]
pub struct Arguments(pg_sys::FunctionCallInfo);

impl Arguments {
    /// The first argument; `None` for NULL.
    pub fn first(self) -> Option<pg_sys::Datum> {
        // SAFETY: a call frame has as many arguments as it says.
        unsafe { ((*self.0).nargs > 0).then(|| (*self.0).args.as_slice(1)[0]) }
            .and_then(|argument| (!argument.isnull).then_some(argument.value))
    }

    /// Whether all calls of the call site have these arguments: there are none, or constants. A parameter is none, as
    /// PL/pgSQL keeps an expression and changes what its variables are.
    ///
    /// # Safety
    ///
    /// PostgreSQL must have passed the call frame, for a call in an expression.
    unsafe fn are_constant(self) -> bool {
        // SAFETY: `fn_expr` is NULL or the call's node.
        unsafe {
            if (*self.0).nargs == 0 {
                return true;
            }
            let call = (*(*self.0).flinfo).fn_expr;
            !call.is_null()
                && (*call).type_ == pg_sys::NodeTag::T_FuncExpr
                && nodes((*call.cast::<pg_sys::FuncExpr>()).args).all(|node| (*node).type_ == pg_sys::NodeTag::T_Const)
        }
    }
}

/// Answers a call; `absent` is the result without identity. What the second row and all others take raises nothing and
/// does not panic; the rest is guarded.
///
/// # Safety
///
/// PostgreSQL must have passed the call frame, and the function must use `fn_extra` in no other way.
#[inline]
pub unsafe fn read<O: Occasion>(
    fcinfo: pg_sys::FunctionCallInfo,
    absent: Option<pg_sys::Datum>,
    find: Find<O>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise is that of the functions called here, and a call frame can be written to.
    unsafe {
        match identity().and_then(|identity| kept::<O>(fcinfo, identity)) {
            Some(datum) => answered(fcinfo, datum),
            None => look_guarded(fcinfo, absent, find),
        }
    }
}

/// Hands out a value, or NULL.
///
/// # Safety
///
/// A call frame of PostgreSQL's.
#[inline]
unsafe fn answered(fcinfo: pg_sys::FunctionCallInfo, datum: Option<pg_sys::Datum>) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe { (*fcinfo).isnull = datum.is_none() };
    datum.unwrap_or(pg_sys::Datum::null())
}

/// The first row. It has a frame of its own, so that the others need not save what it uses.
///
/// # Safety
///
/// As for [`read`].
#[cold]
#[inline(never)]
unsafe fn look_guarded<O: Occasion>(
    fcinfo: pg_sys::FunctionCallInfo,
    absent: Option<pg_sys::Datum>,
    find: Find<O>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise is that of the functions called here.
    unsafe { answered(fcinfo, pgrx_extern_c_guard(|| look(fcinfo, absent, find))) }
}

/// What the call site keeps, if it still holds for this identity.
///
/// # Safety
///
/// As for [`read`].
#[inline]
unsafe fn kept<O: Occasion>(fcinfo: pg_sys::FunctionCallInfo, identity: Identity) -> Option<Option<pg_sys::Datum>> {
    // SAFETY: `fn_extra` is NULL at first, and then points to what `look` put there for this function, in memory that
    // lives as long as `flinfo`.
    let site = unsafe { (*fcinfo).flinfo.as_ref()?.fn_extra.cast::<CallSite<O>>().as_ref()? };
    site.occasion.holds(identity).then_some(site.datum)
}

/// Finds the value and keeps it at the call site.
///
/// # Safety
///
/// As for [`read`].
#[cold]
unsafe fn look<O: Occasion>(
    fcinfo: pg_sys::FunctionCallInfo,
    absent: Option<pg_sys::Datum>,
    find: Find<O>,
) -> Option<pg_sys::Datum> {
    let Some(identity) = standing_identity() else { return absent };
    // What is now known of the identity's standing can be all that was missing.
    // SAFETY: the caller's promise is that of `kept`.
    if let Some(datum) = unsafe { kept::<O>(fcinfo, identity) } {
        return datum;
    }
    let arguments = Arguments(fcinfo);
    let occasion = O::present(identity);
    let value = find(identity, occasion, arguments);
    // SAFETY: the caller promises that what `fn_extra` points to, if anything, was put there here; `fn_mcxt` is the
    // context that lives as long as `flinfo`. A direct call from C has no `flinfo`, and its value goes to the caller's
    // memory context.
    unsafe {
        let (Some(info), Some(occasion)) = ((*fcinfo).flinfo.as_mut(), occasion) else {
            return value.map(|value| value.datum_in(pg_sys::CurrentMemoryContext));
        };
        if !arguments.are_constant() {
            return value.map(|value| value.datum_in(pg_sys::CurrentMemoryContext));
        }
        let site = info.fn_extra.cast::<CallSite<O>>();
        let datum = match (value, site.as_ref().and_then(|site| site.datum)) {
            // A loop that asks again and again must not fill the memory.
            (Some(value), Some(datum)) if value.equals(datum) => Some(datum),
            // A former value is not freed: an open cursor may still point to it. It goes with the expression.
            (value, _) => value.map(|value| value.datum_in(info.fn_mcxt)),
        };
        let site = match site.is_null() {
            true => pg_sys::MemoryContextAlloc(info.fn_mcxt, size_of::<CallSite<O>>()).cast(),
            false => site,
        };
        site.write(CallSite { occasion, datum });
        info.fn_extra = site.cast();
        datum
    }
}

/// Exports a reader as a function of PostgreSQL's version-1 calling convention.
macro_rules! reader {
    ($symbol:ident, $info:ident, $find:expr) => {
        $crate::functions::call_site::reader!($symbol, $info, None, $find);
    };
    ($symbol:ident, $info:ident, $absent:expr, $find:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            const INFO: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &INFO
        }

        /// # Safety
        ///
        /// PostgreSQL must call this as the version-1 function of this name.
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: PostgreSQL calls this with a call frame, whose `fn_extra` this function alone uses.
            unsafe { $crate::functions::call_site::read(fcinfo, $absent, $find) }
        }
    };
}

pub(super) use reader;
