//! No token stays in `pg_stat_activity`.

use pg_jwks_core::redaction;

use crate::pg::activity;

/// Replaces the tokens in what `pg_stat_activity` shows as this session's statement. Functions that take a token call it
/// first, so that it holds however they end.
pub fn conceal_tokens() {
    activity::rewrite_statement(redaction::has_token, redaction::redact);
}
