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
