//! The identity with which a session began: that of its login.
//!
//! PostgreSQL keeps it as the setting's reset value, so RESET and DISCARD return to it with no code. A failed
//! `jwt_session_init` revokes it like any other, and erases its text, which PostgreSQL's references share. A statement
//! that returns to the login therefore first restores the text and gives it a new serial number. If that statement's
//! transaction is rolled back it is revoked again: what a rollback brings back is the state after the failure.

use std::cell::{Cell, RefCell};

use pg_jwks_core::digest::Digest;
use pg_jwks_core::verification::verify::VerifiedClaims;
use pgrx::pg_sys;

use super::setting::{IDENTITIES, Kept, SETTING, next_serial};
use crate::identity::origin::Origin;
use crate::pg::backend_local::BackendLocal;
use crate::pg::guarded_setting::ResetValue;
use crate::pg::transaction::{self, Event, current_subtransaction};

/// PostgreSQL's copy of the login's claims.
static LOGIN: BackendLocal<RefCell<Option<ResetValue>>> = BackendLocal::new(RefCell::new(None));

/// The open transaction or subtransaction that restored the login.
static RESTORED_IN: BackendLocal<Cell<Option<pg_sys::SubTransactionId>>> = BackendLocal::new(Cell::new(None));

/// Makes claims the identity of the session that begins. Called once, during authentication.
pub fn log_in(origin: Origin, claims: &VerifiedClaims, token: Digest, read_only: bool) {
    let kept = Kept { origin, ..Kept::of_token(claims, token, read_only) };
    IDENTITIES.login_serial.set(kept.identity.serial);
    LOGIN.set(Some(SETTING.assign_for_good(claims.json().c_str(), kept)));
    transaction::listen(transaction_event);
}

/// Undoes the revocation of the login, if it was revoked: the caller is about to return to it.
pub fn restore_login() {
    LOGIN.with_borrow(|login| {
        let Some(login) = login else { return };
        if IDENTITIES.login_serial.get() > IDENTITIES.revoked.get() {
            return;
        }
        IDENTITIES.login_serial.set(next_serial());
        login.restore();
        if let Some(kept) = SETTING.extra().filter(|kept| kept.origin.is_login()) {
            IDENTITIES.put_in_force(IDENTITIES.unrevoked(kept));
        }
        RESTORED_IN.set(Some(current_subtransaction()));
    });
}

/// What `restore_login` did is rolled back. Called before PostgreSQL restores its settings.
fn revoke() {
    RESTORED_IN.set(None);
    LOGIN.with_borrow(|login| {
        let Some(login) = login else { return };
        IDENTITIES.login_serial.set(0);
        if IDENTITIES.in_force.get().is_some_and(|kept| kept.origin.is_login()) {
            IDENTITIES.put_in_force(None);
        }
        login.erase();
    });
}

fn transaction_event(event: Event) {
    let Some(restored_in) = RESTORED_IN.get() else { return };
    match event {
        Event::RolledBack => revoke(),
        Event::Committed => RESTORED_IN.set(None),
        Event::SubRolledBack { ended } if ended == restored_in => revoke(),
        Event::SubCommitted { ended, parent } if ended == restored_in => RESTORED_IN.set(Some(parent)),
        _ => {}
    }
}

/// Whether the session began with a login.
pub fn has_login() -> bool {
    LOGIN.with_borrow(Option::is_some)
}
