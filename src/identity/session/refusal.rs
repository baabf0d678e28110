//! Whether the last token was refused: then there is no identity of any kind, so `request.jwt.claims` is not believed.

use std::cell::Cell;

use crate::pg::backend_local::BackendLocal;
use crate::pg::transaction::{self, Event};

/// For how long a refusal counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Session,
    Transaction,
}

static REFUSAL: BackendLocal<Cell<Option<Refusal>>> = BackendLocal::new(Cell::new(None));

/// Listens to the ends of transactions. Called once, when the library is loaded.
pub fn watch() {
    transaction::listen(ended);
}

/// Refuses until [`forget`], or until the transaction ends.
pub fn refuse(is_local: bool) {
    let refusal = match is_local && REFUSAL.get() != Some(Refusal::Session) {
        true => Refusal::Transaction,
        false => Refusal::Session,
    };
    REFUSAL.set(Some(refusal));
}

/// An identity is in force, or the session is back at its beginning.
pub fn forget() {
    REFUSAL.set(None);
}

/// Whether the last token was refused.
#[inline]
pub fn is_refused() -> bool {
    REFUSAL.get().is_some()
}

fn ended(event: Event) {
    if matches!(event, Event::Committed | Event::RolledBack) && REFUSAL.get() == Some(Refusal::Transaction) {
        REFUSAL.set(None);
    }
}
