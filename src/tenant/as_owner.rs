//! Reading a table as its owner, as PostgreSQL's own checks of foreign keys do.

use pgrx::pg_sys;

use pg_sys::{SECURITY_LOCAL_USERID_CHANGE, SECURITY_NOFORCE_RLS, SECURITY_RESTRICTED_OPERATION};

/// While this lives, the user is another one, whom the policies of the user's own tables do not bind, FORCE ROW LEVEL
/// SECURITY or not. Names without schema are those of the system, whatever the session's search_path.
#[must_use]
pub struct AsOwner {
    user: pg_sys::Oid,
    context: i32,
    nest_level: i32,
}

impl AsOwner {
    /// Becomes `owner`.
    pub fn enter(owner: pg_sys::Oid) -> Self {
        let mut former = Self { user: pg_sys::InvalidOid, context: 0, nest_level: 0 };
        // SAFETY: the pointers are to fields that outlive the call. What a view's functions must not do in the session
        // of another user, SECURITY_RESTRICTED_OPERATION forbids them.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&raw mut former.user, &raw mut former.context);
            let flags = SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS | SECURITY_RESTRICTED_OPERATION;
            pg_sys::SetUserIdAndSecContext(owner, former.context | flags as i32);
            former.nest_level = pg_sys::NewGUCNestLevel();
            pg_sys::set_config_option(
                c"search_path".as_ptr(),
                c"pg_catalog, pg_temp".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        former
    }

    /// Goes back to the former user and search_path. After an error the end of the transaction does the latter.
    pub fn leave(self) {
        // SAFETY: the level is that of `enter`, and all inner ones have ended.
        unsafe { pg_sys::AtEOXact_GUC(false, self.nest_level) };
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        // SAFETY: these are what `enter` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}
