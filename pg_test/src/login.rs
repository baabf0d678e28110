//! Logins of alice, whose notes are in a table under RLS.

use std::sync::atomic::{AtomicUsize, Ordering};

use postgres::Client;
use serde_json::json;

use crate::{PgError, SigningKey, claims, pg_error};

/// The extension, and a note each of alice's and bob's in a table under RLS.
pub const NOTES: &str = "
    CREATE EXTENSION pg_jwks;
    CREATE TABLE note (owner text);
    INSERT INTO note VALUES ('alice'), ('bob');
    ALTER TABLE note ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own_notes ON note USING (owner = auth.user_id());
    GRANT SELECT ON note TO PUBLIC;";

/// Another number with each call.
pub fn unique() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// A good token of alice's, unlike all others.
pub fn token(key: &SigningKey, iss: &str) -> String {
    let mut claims = claims(iss, "alice");
    claims["jti"] = json!(unique());
    key.sign(&claims)
}

/// Asks for the identity of a token.
pub fn init(client: &mut Client, token: &str) -> Result<(), PgError> {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token]).map(drop).map_err(|error| pg_error(&error))
}

/// Whose notes the session sees.
pub fn sees(client: &mut Client) -> Vec<String> {
    let rows = client.query("SELECT owner FROM note ORDER BY owner", &[]).expect("SELECT");
    rows.iter().map(|row| row.get(0)).collect()
}

/// The token is accepted, and is alice's.
#[track_caller]
pub fn accepted(client: &mut Client, token: &str) {
    if let Err(error) = init(client, token) {
        panic!("a good token is refused: {error:?}");
    }
    assert_eq!(sees(client), ["alice"]);
}

/// The token is refused with this SQLSTATE, reason and words in the DETAIL, and then there is no identity.
#[track_caller]
pub fn refused(client: &mut Client, token: &str, sqlstate: &str, reason: &str, words: &str) -> PgError {
    let Err(error) = init(client, token) else { panic!("accepted, not refused as {reason}") };
    let message = format!("JWT rejected: {reason}");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), (sqlstate, message.as_str()), "{error:?}");
    let detail = error.detail.as_deref().expect("a DETAIL");
    assert!(detail.contains(words), "{detail:?} has no {words:?}");
    assert!(detail.starts_with(|first: char| first.is_ascii_uppercase()) && detail.ends_with('.'), "{detail:?}");
    assert!(!detail.contains("..") && !detail.contains(['\n', '\t']), "{detail:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!format!("{error:?}").contains(part), "{error:?}");
    }
    assert!(sees(client).is_empty(), "an identity is left");
    error
}

/// The keys cannot be had; the DETAIL has these words, and the HINT names a setting.
#[track_caller]
pub fn unavailable(client: &mut Client, token: &str, words: &str) -> PgError {
    let error = refused(client, token, "55000", "keys unavailable", words);
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("pg_jwks.")), "{error:?}");
    error
}

/// The issuer has no such key.
#[track_caller]
pub fn key_unknown(client: &mut Client, token: &str) {
    refused(client, token, "28000", "key unknown", "");
}
