//! The server behind the poolers, and its clients.

use std::sync::LazyLock;

use pg_test::offline::{self, forged_token};
use pg_test::{Cluster, PgError, now, pg_error};
use postgres::Client;
use postgres::types::Type;
use serde_json::json;

pub use pg_test::offline::token;
pub use pg_test::sql::run;

/// Two databases: in `app` everything is allowed, in `strict` identities live for a transaction.
pub static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = offline::options().setting("session_preload_libraries", "pg_jwks").start();
    let mut template = cluster.connect("postgres", "template1");
    template
        .batch_execute(
            "CREATE EXTENSION pg_jwks;
             CREATE ROLE app LOGIN;
             CREATE TABLE note (owner text DEFAULT auth.user_id());
             INSERT INTO note VALUES ('alice'), ('bob');
             ALTER TABLE note ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON note USING (owner = auth.user_id());
             GRANT ALL ON note TO app;",
        )
        .expect("the schema");
    drop(template);
    for statement in [
        "CREATE DATABASE app",
        "CREATE DATABASE strict",
        "ALTER DATABASE strict SET pg_jwks.session_scope = 'transaction'",
    ] {
        cluster.client().batch_execute(statement).expect(statement);
    }
    cluster
});

/// Tokens that are refused.
pub fn bad_tokens(sub: &str) -> [String; 3] {
    let expired = offline::token_with(&json!({ "sub": sub, "exp": now() - 3600 }));
    [forged_token(sub), expired, "no.jwt".to_owned()]
}

/// `auth.jwt_session_init` with an unnamed statement, as transaction pooling of every version wants it.
pub fn init(client: &mut Client, token: &str, is_local: bool) -> Result<(), PgError> {
    client
        .query_typed("SELECT auth.jwt_session_init($1, $2)", &[(&token, Type::TEXT), (&is_local, Type::BOOL)])
        .map(drop)
        .map_err(|error| pg_error(&error))
}

/// The owners of the notes that the client sees.
pub fn seen(client: &mut Client) -> Vec<String> {
    let rows = client.query_typed("SELECT owner FROM note ORDER BY owner", &[]).expect("a query");
    rows.iter().map(|row| row.get(0)).collect()
}

/// The server process that works for the client.
pub fn backend(client: &mut Client) -> i32 {
    client.query_typed("SELECT pg_backend_pid()", &[]).expect("a query")[0].get(0)
}
