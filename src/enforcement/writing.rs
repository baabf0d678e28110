//! The statements in progress that may write: PostgreSQL has let them begin, and asks no more.
//!
//! The hooks of a statement say when it begins and ends. An error passes over their frames, so what an error ends is
//! known by the subtransaction in which the statement began.

use std::cell::Cell;

use crate::pg::backend_local::BackendLocal;
use crate::pg::transaction::{self, Event, nest_level};

/// The outermost statement in progress that may write, as the nest level of the subtransaction in which it began.
static OUTERMOST: BackendLocal<Cell<Option<i32>>> = BackendLocal::new(Cell::new(None));

/// What was in progress before a statement.
#[derive(Clone, Copy)]
pub struct Before(Option<i32>);

/// Listens to what errors end. Called once, when the library is loaded.
pub fn watch() {
    transaction::listen(ended);
}

/// A statement begins.
#[inline]
pub fn begin(may_write: bool) -> Before {
    let before = OUTERMOST.get();
    if may_write && before.is_none() {
        OUTERMOST.set(Some(nest_level()));
    }
    Before(before)
}

/// A statement ends without an error.
#[inline]
pub fn end(before: Before) {
    OUTERMOST.set(before.0);
}

/// Whether a statement is in progress that may write.
pub fn is_in_progress() -> bool {
    OUTERMOST.get().is_some()
}

fn ended(event: Event) {
    let is_gone = match event {
        Event::RolledBack => true,
        Event::SubRolledBack { .. } => OUTERMOST.get().is_some_and(|level| level >= nest_level()),
        _ => false,
    };
    if is_gone {
        OUTERMOST.set(None);
    }
}
