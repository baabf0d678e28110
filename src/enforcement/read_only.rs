//! Identities that must not write (`pg_jwks.read_only_claim`).

use pg_jwks_core::verification::verify::VerifiedClaims;

use crate::identity::session;
use crate::pg::transaction;
use crate::settings::Settings;

/// Whether the claims forbid to write.
pub fn is_claimed(claims: &VerifiedClaims, settings: &Settings) -> bool {
    settings.read_only_claim.as_ref().is_some_and(|path| claims.restricts(path))
}

/// Makes the transaction read-only if the identity in force must not write.
pub fn enforce() {
    if session::is_read_only() {
        transaction::make_read_only();
    }
}
