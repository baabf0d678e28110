//! The values of settings, read and given as `current_setting` and `set_config` do.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;
use pgrx::pg_sys::GucAction::{GUC_ACTION_LOCAL, GUC_ACTION_SAVE, GUC_ACTION_SET};
use pgrx::pg_sys::GucSource::PGC_S_OVERRIDE;
use pgrx::pg_sys::GucSource::PGC_S_SESSION;

/// Sets a setting for the session or for the transaction; `None` goes back to what the session began with. Raises if
/// the user may not, or nobody at present, in a parallel operation for example.
pub fn assign(name: &CStr, value: Option<&CStr>, is_local: bool) {
    let action = match is_local {
        true => GUC_ACTION_LOCAL,
        false => GUC_ACTION_SET,
    };
    set_config_option(name, value, PGC_S_SESSION, action, 0);
}

/// Sets a setting to what the session begins with, and RESET returns to.
pub fn assign_for_good(name: &CStr, value: &CStr) {
    set_config_option(name, Some(value), PGC_S_OVERRIDE, GUC_ACTION_SET, 0);
}

/// Goes back to what the session began with. A failure is a WARNING, so nothing is raised.
pub fn reset_without_raising(name: &CStr) {
    set_config_option(name, None, PGC_S_SESSION, GUC_ACTION_SET, pg_sys::WARNING as i32);
}

/// Calls `read` with the value of a setting that may not exist; `None` without a value.
pub fn with_value<T>(name: &CStr, read: impl FnOnce(Option<&CStr>) -> T) -> T {
    // SAFETY: the result is NULL or a C string that stays until the setting changes. `read` sees it as borrowed, and
    // changes no setting.
    let value =
        unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false).as_ref().map(|first| CStr::from_ptr(first)) };
    read(value)
}

/// Settings as a function's SET clause has them: until this level ends, or an error ends its transaction.
#[must_use]
pub struct NestLevel(i32);

impl NestLevel {
    /// Begins a level within those in progress.
    pub fn begin() -> Self {
        // SAFETY: increments a counter, which the end of the transaction sets back.
        Self(unsafe { pg_sys::NewGUCNestLevel() })
    }

    /// Sets a setting until the end of the level, which must be the innermost.
    pub fn assign(&self, name: &CStr, value: &CStr) {
        set_config_option(name, Some(value), PGC_S_SESSION, GUC_ACTION_SAVE, 0);
    }

    /// Restores what the level has set.
    pub fn end(self) {
        // SAFETY: the level has begun and not ended, as this ends it; inner ones, if any, end with it.
        unsafe { pg_sys::AtEOXact_GUC(false, self.0) };
    }
}

/// Whether a utility statement sets a setting back to what the session began with: RESET, RESET ALL,
/// SET ... TO DEFAULT, DISCARD ALL.
///
/// # Safety
///
/// The statement must be a complete utility statement.
pub unsafe fn is_reset_by(name: &CStr, statement: *mut pg_sys::Node) -> bool {
    use pg_sys::VariableSetKind::{VAR_RESET, VAR_RESET_ALL, VAR_SET_DEFAULT};
    // SAFETY: a node begins with its tag, which says what it is; the name of a setting is a C string.
    unsafe {
        match (*statement).type_ {
            pg_sys::NodeTag::T_DiscardStmt => {
                (*statement.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL
            }
            pg_sys::NodeTag::T_VariableSetStmt => {
                let set = &*statement.cast::<pg_sys::VariableSetStmt>();
                match set.kind {
                    VAR_RESET_ALL => true,
                    VAR_RESET | VAR_SET_DEFAULT => {
                        !set.is_local && CStr::from_ptr(set.name).to_bytes().eq_ignore_ascii_case(name.to_bytes())
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
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
