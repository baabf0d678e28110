//! `make demo`: pg_jwks on a throwaway server, with a real issuer, a table under RLS and two users.

use pg_test::{Alg, Cluster, Issuer, SigningKey, claims, claims_with, now, pg_error};
use postgres::Client;
use serde_json::json;

fn main() {
    println!("Starting a throwaway PostgreSQL server and an OpenID issuer ...");
    let key = SigningKey::generate(Alg::Rs256, "key-1");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let cluster = Cluster::options()
        .setting("pg_jwks.issuer", issuer.url())
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("shared_preload_libraries", "pg_jwks")
        .start();
    let mut owner = cluster.client();
    let version: String = owner.query_one("SHOW server_version", &[]).expect("server version").get(0);
    println!("PostgreSQL {version}; issuer {}\n", issuer.url());

    const SCHEMA: &str = "
        CREATE EXTENSION pg_jwks;
        CREATE ROLE app LOGIN;
        CREATE TABLE note (owner text NOT NULL DEFAULT auth.user_id(), body text);
        ALTER TABLE note ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own_notes ON note USING (owner = auth.user_id());
        GRANT SELECT, INSERT ON note TO app;";
    println!("The schema:\n{SCHEMA}\n");
    owner.batch_execute(SCHEMA).expect("schema");

    let good = |sub: &str| key.sign(&claims(issuer.url(), sub));
    let mut app = cluster.connect("app", "postgres");
    for (user, body) in [("alice", "water the plants"), ("bob", "buy a plane")] {
        init(&mut app, &good(user)).expect("a good token is accepted");
        app.execute("INSERT INTO note (body) VALUES ($1)", &[&body]).expect("insert");
    }
    for user in ["alice", "bob"] {
        init(&mut app, &good(user)).expect("a good token is accepted");
        println!("With {user}'s token, SELECT owner, body FROM note gives");
        print_notes(&mut app);
    }
    app.execute("SELECT auth.jwt_session_clear()", &[]).expect("clear");
    println!("Without a token it gives");
    print_notes(&mut app);

    let claimed = |change: serde_json::Value| claims_with(issuer.url(), "alice", &change);
    let stranger = SigningKey::generate(Alg::Rs256, "key-1");
    println!("\nWhat is refused, and how it reads:");
    for (what, token) in [
        ("an expired token", key.sign(&claimed(json!({ "exp": now() - 3600 })))),
        ("a forged token", stranger.sign(&claimed(json!({})))),
        ("a token for another application", key.sign(&claimed(json!({ "aud": "shop" })))),
    ] {
        let error = init(&mut app, &token).expect_err("a bad token is refused");
        print_refusal(what, &error);
    }
    let forged = app.batch_execute(r#"SET pg_jwks.session = '{"sub":"bob"}'"#).expect_err("a forged SET is refused");
    print_refusal("a forged SET", &forged);
    println!("\nAfter all that, the session sees");
    print_notes(&mut app);
}

fn init(client: &mut Client, token: &str) -> Result<u64, postgres::Error> {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token])
}

fn print_notes(client: &mut Client) {
    let rows = client.query("SELECT owner, body FROM note", &[]).expect("select");
    for row in &rows {
        println!("    {} | {}", row.get::<_, String>(0), row.get::<_, String>(1));
    }
    if rows.is_empty() {
        println!("    no rows");
    }
}

fn print_refusal(what: &str, error: &postgres::Error) {
    let error = pg_error(error);
    println!("  {what}:\n    ERROR:  {}: {}", error.sqlstate, error.message);
    for (label, text) in [("DETAIL", error.detail), ("HINT", error.hint)] {
        if let Some(text) = text {
            println!("    {label}:  {text}");
        }
    }
}
