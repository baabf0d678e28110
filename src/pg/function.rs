//! Functions of the catalogue, and whose they are.

use std::ffi::c_char;

use pgrx::pg_sys;

use super::datum::c_text;
use super::privilege::is_of_the_system;

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
        let is_there = !pg_sys::get_func_name(oid).is_null();
        let immutable = pg_sys::PROVOLATILE_IMMUTABLE as c_char;
        Function::Users { is_immutable: is_there && pg_sys::func_volatile(oid) == immutable }
    }
}

fn name(oid: pg_sys::Oid) -> String {
    // SAFETY: NULL for a function that is gone, otherwise a C string in the current memory context.
    unsafe { c_text(pg_sys::get_func_name(oid)) }.unwrap_or_default()
}
