//! An application: one table under RLS, which everybody reaches as the role `web`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use pg_test::{Alg, Cluster, SigningKey, claims, jwks, now};
use serde_json::json;

pub const ISS: &str = "https://login.test/";

pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::Es256, "k"));

/// What every application needs: the table, its policy, and the role.
pub const SCHEMA: &str = "
    CREATE EXTENSION pg_jwks;
    CREATE TABLE note (owner text, body text);
    INSERT INTO note VALUES ('alice', 'from alice'), ('bob', 'from bob'), ('service', 'from service');
    ALTER TABLE note ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own_notes ON note USING (owner = auth.user_id());
    GRANT SELECT ON note TO PUBLIC;
    CREATE ROLE web LOGIN;";

/// A server that logs all that it can of statements.
pub static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::options()
        .setting("session_preload_libraries", "pg_jwks")
        .setting("log_statement", "all")
        .setting("log_min_duration_statement", "0")
        .setting("pg_jwks.issuer", ISS)
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
        .start();
    cluster.client().batch_execute(SCHEMA).expect("schema");
    cluster
});

/// A good token.
pub fn token(user: &str) -> String {
    KEY.sign(&claims(ISS, user))
}

/// A token that has expired.
pub fn expired_token(user: &str) -> String {
    let mut claims = claims(ISS, user);
    claims["exp"] = json!(now() - 3600);
    KEY.sign(&claims)
}

/// Gives the program these lines, and returns what it printed on standard output and on standard error.
pub fn converse(command: &mut Command, lines: &[&str]) -> (String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut input = child.stdin.take().expect("a pipe");
    for line in lines {
        writeln!(input, "{line}").expect("the program reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr))
}
