//! As whom PostgreSQL executes, and the roles that there are.

use std::ffi::CStr;

use pgrx::pg_sys;

/// The current user, and what it is restricted in: `SECURITY_LOCAL_USERID_CHANGE` and others (miscadmin.h), 0 outside of
/// SECURITY DEFINER functions and the like.
pub fn current_user() -> (pg_sys::Oid, i32) {
    let (mut user, mut restrictions) = (pg_sys::InvalidOid, 0);
    // SAFETY: the pointers are to variables that outlive the call.
    unsafe { pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut restrictions) };
    (user, restrictions)
}

/// The role of SET ROLE; invalid without one.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: reads a variable.
    unsafe { pg_sys::GetCurrentRoleId() }
}

/// The name of the session user, which is set in every backend that runs SQL.
pub fn session_user_name() -> Option<String> {
    // SAFETY: the name is NULL or a C string in the current memory context, and is copied.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true);
        name.as_ref().map(|first| CStr::from_ptr(first).to_string_lossy().into_owned())
    }
}

/// The role with this name, in the catalogue as the transaction sees it.
pub fn role_named(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a C string. A role that does not exist gives an invalid OID.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != pg_sys::InvalidOid).then_some(role)
}
