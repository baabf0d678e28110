//! Every setting `pg_jwks.*` but the identity itself: one table of them, their checks, and a typed snapshot.

mod check;
mod generation;
mod kinds;
mod records;
mod setter;
mod sharing;
mod snapshot;
mod table;
mod unapplied;
mod words;

use pg_jwks_core::policy::claim_settings::ClaimVariable;
use pg_jwks_core::time::Span;
use pgrx::pg_sys;

use table::TABLE;

pub use generation::generation;
pub use setter::answerable_for_tenant_lookup;
pub use snapshot::{Network, Settings, current};
pub use words::{AuditLog, OnExpiry, SessionScope};

/// Defines the settings.
pub fn define() {
    unapplied::watch(table::define);
    sharing::watch();
}

/// Refuses settings `pg_jwks.*` that do not exist, so that a misspelt one is noticed.
pub fn reserve_prefix() {
    // SAFETY: the prefix is a C string, of which PostgreSQL makes a copy.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(c"pg_jwks".as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(c"pg_jwks".as_ptr());
    }
}

/// The allowed clock skew, read at each statement.
pub fn leeway() -> Span {
    TABLE.leeway.get()
}

/// What happens to a session that uses an identity past its `exp`.
pub fn on_expiry() -> OnExpiry {
    TABLE.on_expiry.get()
}

/// Whether, without a verified identity, `request.jwt.claims` is believed.
pub fn trust_request_claims() -> bool {
    TABLE.trust_request_claims.get()
}

/// Whether isolated tables stay isolated (`pg_jwks.protect_isolation`).
pub fn protects_isolation() -> bool {
    TABLE.protect_isolation.get()
}

/// The session variables that show claims (`pg_jwks.claim_settings`), fixed when the server starts.
pub fn claim_variables() -> Vec<ClaimVariable> {
    TABLE.claim_settings.get()
}

/// Sources of keys that the cluster keeps, and a session at most (`pg_jwks.max_key_sources`), fixed when the server starts.
pub fn max_key_sources() -> usize {
    TABLE.max_key_sources.get()
}

/// Bytes of shared memory for key documents (`pg_jwks.shared_cache_size`), fixed when the server starts.
pub fn shared_cache_bytes() -> usize {
    TABLE.shared_cache_size.get()
}
