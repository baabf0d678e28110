//! Reading a table as its owner, as PostgreSQL's own checks of foreign keys do.

use pgrx::pg_sys;
use pgrx::pg_sys::{SECURITY_LOCAL_USERID_CHANGE, SECURITY_NOFORCE_RLS, SECURITY_RESTRICTED_OPERATION};

use crate::pg::setting::NestLevel;
use crate::pg::user::current_user;

/// While this lives, the user is another one, whom the policies of the user's own tables do not bind, FORCE ROW LEVEL
/// SECURITY or not. Names without schema are those of the system, whatever the session's search_path.
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
        settings.assign(c"search_path", c"pg_catalog, pg_temp");
        Self { _user: user, settings }
    }

    /// Goes back to the former user and search_path. After an error the end of the transaction does the latter.
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
