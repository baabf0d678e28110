//! Reading a table as its owner, as PostgreSQL's own checks of foreign keys do.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::{SECURITY_LOCAL_USERID_CHANGE, SECURITY_NOFORCE_RLS, SECURITY_RESTRICTED_OPERATION};

use crate::pg::setting::{NestLevel, with_value};
use crate::pg::user::current_user;

/// What a value's text depends on besides the value, and how it is written while a table is read: an identifier must not
/// be spelt as the session likes.
const SPELLING: [(&CStr, &CStr); 8] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"bytea_output", c"hex"),
    (c"DateStyle", c"ISO, MDY"),
    (c"extra_float_digits", c"1"),
    (c"IntervalStyle", c"postgres"),
    (c"lc_monetary", c"C"),
    (c"quote_all_identifiers", c"off"),
    (c"TimeZone", c"UTC"),
];

/// While this lives, the user is another one, whom the policies of the user's own tables do not bind, FORCE ROW LEVEL
/// SECURITY or not. Names without schema are those of the system, whatever the session's search_path, and values are
/// spelt alike in all sessions.
#[must_use]
pub struct AsOwner {
    _user: UserChange,
    settings: NestLevel,
}

impl AsOwner {
    /// Becomes `owner`.
    pub fn enter(owner: pg_sys::Oid) -> Self {
        let user = UserChange::to(owner);
        let settings = NestLevel::begin();
        // Most are so in most sessions, and to look takes a tenth of what setting them would.
        for (name, value) in SPELLING.into_iter().filter(|(name, value)| !with_value(name, |own| own == Some(value))) {
            settings.assign(name, value);
        }
        Self { _user: user, settings }
    }

    /// Goes back to the former user and settings. After an error the end of the transaction does the latter.
    pub fn leave(self) {
        self.settings.end();
    }
}

/// Who was the user before.
struct UserChange {
    user: pg_sys::Oid,
    restrictions: i32,
}

impl UserChange {
    fn to(owner: pg_sys::Oid) -> Self {
        let (user, restrictions) = current_user();
        // What a view's functions must not do in the session of another user, SECURITY_RESTRICTED_OPERATION forbids them.
        let more = SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS | SECURITY_RESTRICTED_OPERATION;
        // SAFETY: sets two variables. `drop` or, after an error, PostgreSQL itself sets them back.
        unsafe { pg_sys::SetUserIdAndSecContext(owner, restrictions | more as i32) };
        Self { user, restrictions }
    }
}

impl Drop for UserChange {
    fn drop(&mut self) {
        // SAFETY: these are what `to` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.restrictions) };
    }
}
