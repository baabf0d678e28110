//! Assigns settings that only this library may give a value, as `set_config` would.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

/// Sets one of them, for the session or for the transaction; `None` goes back to what the session began with. Raises
/// where a setting cannot be changed, in a parallel operation for example.
pub fn assign(name: &CStr, value: Option<&CStr>, is_local: bool) {
    let action = match is_local {
        true => pg_sys::GucAction::GUC_ACTION_LOCAL,
        false => pg_sys::GucAction::GUC_ACTION_SET,
    };
    // SAFETY: both strings outlive the call, which copies what it keeps.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.map_or(ptr::null(), CStr::as_ptr),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}
