//! As whom PostgreSQL executes, and the roles that there are.

use std::ffi::CStr;

use pgrx::{Inet, direct_function_call, pg_sys};

use super::datum::c_text;

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
    unsafe { c_text(pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true)) }
}

/// The role with this name, in the catalogue as the transaction sees it.
pub fn role_named(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a C string. A role that does not exist gives an invalid OID.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != pg_sys::InvalidOid).then_some(role)
}

/// Whether the session user may `SET ROLE` to this one.
pub fn may_set_role(role: pg_sys::Oid) -> bool {
    // SAFETY: the functions read a variable and the catalogue, and raise only if that cannot be read.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::is_member_of_role(pg_sys::GetSessionUserId(), role);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::member_can_set_role(pg_sys::GetSessionUserId(), role);
    }
}

/// Whether the session user may know the values of all settings: a member of `pg_monitor`, or a superuser. Whose rights a
/// function runs with does not count: the client hears the answer.
pub fn may_know_settings() -> bool {
    // SAFETY: the functions read a variable and the catalogue, and raise only if that cannot be read.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetSessionUserId(), pg_sys::Oid::from(pg_sys::ROLE_PG_MONITOR)) }
}

/// The OID of the session user.
pub fn session_user() -> pg_sys::Oid {
    // SAFETY: reads a variable.
    unsafe { pg_sys::GetSessionUserId() }
}

/// Where the client of this session is: its address, or `[local]` for a socket of the machine, as in `log_line_prefix`.
/// `None` in a process without client.
pub fn client_address() -> Option<String> {
    // SAFETY: reads a variable.
    if unsafe { pg_sys::MyProcPort.is_null() } {
        return None;
    }
    // SAFETY: the function takes no argument and reads the port, which is there.
    let address = unsafe { direct_function_call::<Inet>(pg_sys::inet_client_addr, &[]) };
    Some(address.map_or_else(|| "[local]".to_owned(), |address| address.0))
}
