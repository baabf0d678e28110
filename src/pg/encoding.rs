//! Text in the encoding of the database, and in UTF-8.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::ptr;

use pgrx::pg_sys;

use super::error::raise_not_representable;

/// The name of the database's encoding.
pub fn encoding() -> String {
    // SAFETY: the name of the database encoding is a static C string.
    unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) }.to_string_lossy().into_owned()
}

/// Text of the database as UTF-8, to compare with claims; `None` if no claim can be equal to it.
pub fn utf8(text: &[u8]) -> Option<Cow<'_, str>> {
    // SAFETY: reads a variable.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() } as pg_sys::pg_enc::Type;
    if text.is_ascii() || matches!(encoding, pg_sys::pg_enc::PG_UTF8 | pg_sys::pg_enc::PG_SQL_ASCII) {
        return std::str::from_utf8(text).ok().map(Cow::Borrowed);
    }
    let length = i32::try_from(text.len()).ok()?;
    // SAFETY: the text has this length, and is not empty, so that the result is a new C string in the current context.
    let converted = unsafe {
        CStr::from_ptr(pg_sys::pg_server_to_any(text.as_ptr().cast(), length, pg_sys::pg_enc::PG_UTF8 as i32))
    };
    converted.to_str().ok().map(|text| Cow::Owned(text.to_owned()))
}

/// Text of a claim in the database's encoding, which can hold it (the claims were checked as jsonb).
pub fn server_encoded(text: &str) -> Vec<u8> {
    let Ok(length) = i32::try_from(text.len()) else { unreachable!("a token is smaller") };
    if text.is_ascii() {
        return text.into();
    }
    // SAFETY: the text has this length, and is not empty. The result is the text itself if there is nothing to
    // convert, and then has no NUL, or it is a new C string in the current context.
    unsafe {
        let from = text.as_ptr().cast();
        let converted = pg_sys::pg_any_to_server(from, length, pg_sys::pg_enc::PG_UTF8 as i32);
        match ptr::eq(converted, from) {
            true => text.into(),
            false => CStr::from_ptr(converted).to_bytes().into(),
        }
    }
}

/// The same as a C string.
pub fn server_text(text: &str) -> CString {
    CString::new(server_encoded(text)).unwrap_or_else(|_| raise_not_representable(&encoding()))
}
