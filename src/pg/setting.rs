//! Gives settings values, as `set_config` would.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

/// Sets a setting for the session or for the transaction; `None` goes back to what the session began with. Raises where
/// the user may not, or nobody at present, in a parallel operation for example.
pub fn assign(name: &CStr, value: Option<&CStr>, is_local: bool) {
    let action = match is_local {
        true => pg_sys::GucAction::GUC_ACTION_LOCAL,
        false => pg_sys::GucAction::GUC_ACTION_SET,
    };
    set_config_option(name, value, pg_sys::GucSource::PGC_S_SESSION, action, 0);
}

/// Sets a setting to what the session begins with, and RESET returns to.
#[cfg(feature = "pg18")]
pub fn assign_for_good(name: &CStr, value: &CStr) {
    set_config_option(name, Some(value), pg_sys::GucSource::PGC_S_OVERRIDE, pg_sys::GucAction::GUC_ACTION_SET, 0);
}

/// Goes back to what the session began with. A failure is a WARNING, so nothing is raised.
pub fn reset_without_raising(name: &CStr) {
    let action = pg_sys::GucAction::GUC_ACTION_SET;
    set_config_option(name, None, pg_sys::GucSource::PGC_S_SESSION, action, pg_sys::WARNING as i32);
}

/// `elevel` is that of failures; 0 is the one that fits the source.
fn set_config_option(
    name: &CStr,
    value: Option<&CStr>,
    source: pg_sys::GucSource::Type,
    action: pg_sys::GucAction::Type,
    elevel: i32,
) {
    // SAFETY: both strings outlive the call, which copies what it keeps.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.map_or(ptr::null(), CStr::as_ptr),
            pg_sys::GucContext::PGC_USERSET,
            source,
            action,
            true,
            elevel,
            false,
        );
    }
}
