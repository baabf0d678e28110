//! PostgreSQL's lists.

use std::slice;

use pgrx::pg_sys;

/// The cells of a list.
///
/// # Safety
///
/// A list that outlives the slice, or NULL.
pub unsafe fn cells<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    // SAFETY: the caller promises a list, which has as many cells as its length says.
    unsafe {
        match list.as_ref() {
            Some(list) => slice::from_raw_parts(list.elements, list.length as usize),
            None => &[],
        }
    }
}

/// The nodes of a list of nodes.
///
/// # Safety
///
/// A list of nodes, or NULL.
pub unsafe fn nodes(list: *const pg_sys::List) -> impl Iterator<Item = *mut pg_sys::Node> {
    // SAFETY: the caller promises nodes.
    unsafe { cells(list) }.iter().map(|cell| unsafe { cell.ptr_value }.cast())
}
