//! Values in PostgreSQL's types.

use std::ffi::{CStr, c_char};
use std::ptr;

use pgrx::{FromDatum, IntoDatum, pg_sys};

/// The bytes of a by-reference datum; `length` is its type's, -1 for a varlena.
///
/// # Safety
///
/// The datum must point to a value of that length, which must outlive the slice.
pub unsafe fn bytes<'a>(datum: pg_sys::Datum, length: i32) -> &'a [u8] {
    let from: *const u8 = datum.cast_mut_ptr();
    // SAFETY: the caller promises a value of this length; that of a varlena is in its header.
    unsafe {
        let size = usize::try_from(length).unwrap_or_else(|_| pgrx::varsize_any(from.cast()));
        std::slice::from_raw_parts(from, size)
    }
}

/// A copy of a by-reference datum in `context`; `length` is its type's, -1 for a varlena.
///
/// # Safety
///
/// The datum must point to a value of that length.
pub unsafe fn copied(datum: pg_sys::Datum, length: i32, context: pg_sys::MemoryContext) -> pg_sys::Datum {
    // SAFETY: the caller promises a value of this length; the new block is as large, and no part of it.
    unsafe {
        let from = bytes(datum, length);
        let to = pg_sys::MemoryContextAlloc(context, from.len()).cast::<u8>();
        ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        pg_sys::Datum::from(to)
    }
}

/// Text of the database as a datum in the current memory context. A bytea is laid out alike.
pub fn text_datum(text: &[u8]) -> pg_sys::Datum {
    let Some(datum) = text.into_datum() else { unreachable!("bytes are never NULL") };
    datum
}

/// A copy of a value that is laid out as text.
///
/// # Safety
///
/// The datum must point to such a value.
pub unsafe fn text(datum: pg_sys::Datum) -> Vec<u8> {
    // SAFETY: the caller promises a varlena, of which there are bytes behind the header. NULL is not asked for.
    unsafe { Vec::<u8>::from_datum(datum, false) }.unwrap_or_default()
}

/// Copies of the elements of a text[]; that of NULL is empty.
///
/// # Safety
///
/// The datum must point to a text[].
pub unsafe fn text_array(datum: pg_sys::Datum) -> Vec<Vec<u8>> {
    let (mut texts, mut nulls, mut count) = (ptr::null_mut(), ptr::null_mut(), 0);
    // SAFETY: the caller promises the array. Both results have as many elements as `count` says.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
        let (text_type, align) = (pg_sys::TEXTOID, ALIGNED_AS_INT);
        pg_sys::deconstruct_array(array, text_type, -1, false, align, &raw mut texts, &raw mut nulls, &raw mut count);
        let element = |index: usize| match *nulls.add(index) {
            true => Vec::new(),
            false => text(*texts.add(index)),
        };
        (0..count as usize).map(element).collect()
    }
}

/// `typalign` of type text.
const ALIGNED_AS_INT: c_char = b'i' as c_char;

/// Texts of the database as a text[] in the current memory context.
pub fn text_array_datum(texts: &[impl AsRef<[u8]>]) -> pg_sys::Datum {
    let mut texts: Vec<pg_sys::Datum> = texts.iter().map(|text| text_datum(text.as_ref())).collect();
    let Ok(count) = i32::try_from(texts.len()) else { unreachable!("more texts than an array holds") };
    // SAFETY: these are `count` values of type text, which has variable length and is aligned as int.
    unsafe { pg_sys::construct_array(texts.as_mut_ptr(), count, pg_sys::TEXTOID, -1, false, ALIGNED_AS_INT) }.into()
}

/// A copy of a C string of PostgreSQL's, for messages and names; `None` for NULL.
///
/// # Safety
///
/// The text must be NULL or a C string.
pub unsafe fn c_text(text: *const c_char) -> Option<String> {
    // SAFETY: the caller promises it, and it is copied.
    unsafe { text.as_ref().map(|first| CStr::from_ptr(first).to_string_lossy().into_owned()) }
}
