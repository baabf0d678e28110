//! Functions of the catalogue, and whose they are.

use std::ffi::c_char;
use std::ptr;

use pgrx::pg_sys;

use super::datum::c_text;
use super::privilege::is_of_the_system;

/// The language SQL (`SQLlanguageId`), which initdb gives this OID.
const SQL: pg_sys::Oid = pg_sys::Oid::from_u32(14);

/// A function by whose it is.
pub enum Function {
    /// One of this extension's.
    Ours(String),
    /// One that initdb made.
    System(String),
    /// Any other.
    Users {
        /// It is declared IMMUTABLE.
        is_immutable: bool,
        /// It is declared STABLE, and PostgreSQL calls it rather than to take its query into the caller's.
        is_call_in_statement: bool,
    },
}

/// The function with this OID. One that is gone counts as a user's.
pub fn function(oid: pg_sys::Oid) -> Function {
    if is_of_the_system(oid) {
        return Function::System(name(oid));
    }
    // SAFETY: the functions look at the catalogue. An extension that is not there has an invalid OID, as has the extension
    // of a function that is of none.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, oid);
        if extension != pg_sys::InvalidOid && extension == pg_sys::get_extension_oid(c"pg_jwks".as_ptr(), true) {
            return Function::Ours(name(oid));
        }
    }
    users_function(oid)
}

fn users_function(oid: pg_sys::Oid) -> Function {
    // SAFETY: a tuple of this cache is a row of pg_proc, which stays until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, oid.into());
        if tuple.is_null() {
            return Function::Users { is_immutable: false, is_call_in_statement: false };
        }
        let row = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_proc>(tuple);
        let is = |volatility: u8| row.provolatile == volatility as c_char;
        let has_settings = !pg_sys::heap_attisnull(tuple, pg_sys::Anum_pg_proc_proconfig as i32, ptr::null_mut());
        let is_query = row.prolang == SQL && !row.prosecdef && !has_settings;
        let function = Function::Users {
            is_immutable: is(pg_sys::PROVOLATILE_IMMUTABLE),
            is_call_in_statement: is(pg_sys::PROVOLATILE_STABLE) && !is_query,
        };
        pg_sys::ReleaseSysCache(tuple);
        function
    }
}

fn name(oid: pg_sys::Oid) -> String {
    // SAFETY: NULL for a function that is gone, otherwise a C string in the current memory context.
    unsafe { c_text(pg_sys::get_func_name(oid)) }.unwrap_or_default()
}
