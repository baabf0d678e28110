//! The claims that stand in the detail of each line of the server log (`pg_jwks.log_claims`).
//!
//! The text of an identity is made when the identity is put into force. What reads it, inside error reporting, allocates
//! nothing and cannot panic; nor does what PostgreSQL calls when it puts another identity into force.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::ptr;

use crate::pg::backend_local::BackendLocal;

/// The texts of the identities that were in force last: a rollback brings back one of them.
const KEPT: usize = 4;

/// The text of an identity.
#[derive(Clone, Copy)]
struct Text {
    serial: u64,
    /// NULL, or a C string of `CString::into_raw`.
    text: *mut c_char,
}

struct Texts {
    kept: [Cell<Text>; KEPT],
    /// Which of them goes next.
    oldest: Cell<usize>,
    /// The one of the identity in force; NULL without.
    in_force: Cell<*const c_char>,
}

const NONE: Text = Text { serial: 0, text: ptr::null_mut() };

static TEXTS: BackendLocal<Texts> = BackendLocal::new(Texts {
    kept: [const { Cell::new(NONE) }; KEPT],
    oldest: Cell::new(0),
    in_force: Cell::new(ptr::null()),
});

/// Sets the text of the identity in force, which has this serial; an empty one says nothing.
pub fn set(serial: u64, text: CString) {
    let oldest = TEXTS.oldest.get();
    let kept = match TEXTS.kept.iter().find(|kept| kept.get().serial == serial) {
        Some(same) => same,
        None => {
            TEXTS.oldest.set((oldest + 1) % KEPT);
            &TEXTS.kept[oldest]
        }
    };
    TEXTS.in_force.set(ptr::null());
    let former = kept.replace(Text { serial, text: text.into_raw() });
    if !former.text.is_null() {
        // SAFETY: it came from `into_raw`, and nobody has it any more.
        drop(unsafe { CString::from_raw(former.text) });
    }
    put_in_force(Some(serial));
}

/// The identity of this serial is in force now, or none. Allocates nothing.
pub fn put_in_force(serial: Option<u64>) {
    let kept = TEXTS.kept.iter().map(Cell::get).find(|kept| Some(kept.serial) == serial);
    TEXTS.in_force.set(kept.map_or(ptr::null(), |kept| kept.text.cast_const()));
}

/// The text of the identity in force, if it has one.
pub(super) fn text() -> Option<&'static CStr> {
    let text = TEXTS.in_force.get();
    // SAFETY: NULL or a C string that is kept until `set` has taken it out of force.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }).filter(|text| !text.is_empty())
}
