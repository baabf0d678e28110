//! The tenant that a user with several memberships has chosen: a guarded setting, `pg_jwks.tenant`.
//!
//! The value names the user whose choice it is, so that it counts for no other. It is no proof of membership: whoever
//! reads it checks that again.

use std::ffi::{CStr, CString};

use super::dependencies;
use crate::pg::backend_local::BackendLocal;
use crate::pg::guarded_setting::{Guard, GuardedSetting};

/// The digest of a user's `iss` and `sub`.
pub type Subject = [u8; 32];

struct Choice;

static SETTING: BackendLocal<GuardedSetting<Choice>> = GuardedSetting::new();

impl Guard for Choice {
    const NAME: &'static CStr = c"pg_jwks.tenant";
    const DESCRIPTION: &'static CStr = c"The tenant that the session's user has chosen.";
    const LONG_DESCRIPTION: &'static CStr = c"Set by auth.set_tenant() only.";
    const REFUSAL: [&'static str; 2] =
        ["It holds the tenant that the session's user has chosen.", "Call auth.set_tenant()."];

    type Extra = ();

    fn setting() -> &'static GuardedSetting<Self> {
        &SETTING
    }

    fn from_leader(_value: &CStr) -> Option<()> {
        Some(())
    }

    fn assigned(_extra: Option<()>) -> bool {
        dependencies::changed();
        true
    }
}

/// Defines the setting.
pub fn define() {
    SETTING.define();
}

/// Whether the session has a choice, perhaps of a former user.
pub fn is_made() -> bool {
    SETTING.extra().is_some()
}

/// The choice of this user, if the session has one.
pub fn of(subject: Subject) -> Option<Vec<u8>> {
    Some(SETTING.value()?.to_bytes().strip_prefix(prefix(subject).as_bytes())?.to_vec())
}

/// Sets the choice of this user, for the session or for the transaction.
pub fn set(subject: Subject, tenant: &[u8], is_local: bool) {
    let Ok(value) = CString::new([prefix(subject).as_bytes(), tenant].concat()) else {
        unreachable!("text of the database has no NUL");
    };
    SETTING.assign(&value.into(), (), is_local);
}

/// Takes the choice back.
pub fn clear(is_local: bool) {
    SETTING.clear(is_local);
}

fn prefix(subject: Subject) -> String {
    hex::encode(subject) + ":"
}
