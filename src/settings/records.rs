//! PostgreSQL's own records of settings.

use std::ffi::CStr;

use pgrx::pg_sys;

/// The name in lower case. PostgreSQL ignores the case of names, and until a setting is defined keeps its name as somebody
/// spelt it first.
pub fn name(setting: &pg_sys::config_generic) -> String {
    // SAFETY: guc.c gives each setting a name, a C string that lives as long as the setting.
    unsafe { CStr::from_ptr(setting.name) }.to_string_lossy().to_ascii_lowercase()
}

/// Calls `visit` with the record of each setting that there is.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub fn each(mut visit: impl FnMut(&pg_sys::config_generic)) {
    // SAFETY: guc.c's array has this many pointers to settings. No setting is defined or dropped while `visit` looks at
    // one.
    unsafe {
        let variables = pg_sys::get_guc_variables();
        for index in 0..usize::try_from(pg_sys::GetNumConfigOptions()).unwrap_or(0) {
            visit(&**variables.add(index));
        }
    }
}

#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub fn each(mut visit: impl FnMut(&pg_sys::config_generic)) {
    // SAFETY: guc.c makes an array of this many pointers to settings, and leaves the array to its caller. No setting is
    // defined or dropped while `visit` looks at one.
    unsafe {
        let mut count = 0;
        let variables = pg_sys::get_guc_variables(&mut count);
        for index in 0..usize::try_from(count).unwrap_or(0) {
            visit(&**variables.add(index));
        }
        pg_sys::pfree(variables.cast());
    }
}
