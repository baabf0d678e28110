//! `make demo`: pg_jwks on a throwaway server, with a real issuer, a table under RLS and two users.

use pg_test::{Alg, Cluster, Issuer, SigningKey, claims, claims_with, now};
use serde_json::json;

const README: &str = include_str!("../../../README.md");
const NOTES: &str = "SELECT * FROM note";

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
    println!("PostgreSQL {}; issuer {}", cluster.major_version(), issuer.url());

    println!("\nThe schema, as the README has it:\n\n{}", schema());
    assert_eq!(psql(&cluster, "postgres", &[], "CREATE ROLE app LOGIN"), "");
    assert_eq!(psql(&cluster, "postgres", &[], schema()), "");

    let alice = key.sign(&claims(issuer.url(), "alice"));
    let bob = key.sign(&claims(issuer.url(), "bob"));
    for (token, body) in [(&alice, "water the plants"), (&bob, "buy a plane")] {
        assert_eq!(psql(&cluster, "app", &[token], &format!("INSERT INTO note (body) VALUES ('{body}')")), "");
    }
    let show = |what: &str, tokens: &[&str], statement: &str, expected: &[&str]| {
        let output = psql(&cluster, "app", tokens, statement);
        println!("{what}:\n\n{}\n", output.trim_end());
        assert!(expected.iter().all(|part| output.contains(part)), "psql should have printed {expected:?}");
    };
    show("What alice sees with her token, in SELECT * FROM note", &[&alice], NOTES, &["water the plants", "(1 row)"]);
    show("What bob sees with his", &[&bob], NOTES, &["buy a plane", "(1 row)"]);
    show("Without a token", &[], NOTES, &["(0 rows)"]);

    let claimed = |change: serde_json::Value| claims_with(issuer.url(), "alice", &change);
    let expired = key.sign(&claimed(json!({ "exp": now() - 3600 })));
    let elsewhere = key.sign(&claimed(json!({ "aud": "shop" })));
    let forged = SigningKey::generate(Alg::Rs256, "key-1").sign(&claimed(json!({})));
    show("An expired token", &[&expired], "", &["JWT rejected: token expired"]);
    show("A forged token", &[&forged], "", &["JWT rejected: signature invalid"]);
    show("A token for another application", &[&elsewhere], "", &["JWT rejected: audience not accepted"]);
    show("An identity without a token", &[], r#"SET pg_jwks.session = '{"sub":"bob"}'"#, &["cannot be set directly"]);
    let planted = "INSERT INTO note VALUES ('bob', 'pay alice')";
    show("A row in bob's name, with alice's token", &[&alice], planted, &["violates row-level security policy"]);
    show("What alice's session sees after a refused token", &[&alice, &forged], NOTES, &["JWT rejected", "(0 rows)"]);
}

/// What the README has a newcomer run.
fn schema() -> &'static str {
    let start = README.find("CREATE EXTENSION pg_jwks;").expect("the schema of the README");
    let length = README[start..].find("```").expect("the end of the schema");
    &README[start..start + length]
}

/// What psql prints for a session of `user` that hands over the tokens one after the other, and then runs a statement.
fn psql(cluster: &Cluster, user: &str, tokens: &[&str], statement: &str) -> String {
    let mut command = cluster.psql();
    command.args(["--quiet", "--username", user]);
    for token in tokens {
        // An application would bind the token as a parameter; psql can from 16 on.
        let init = format!("SELECT auth.jwt_session_init('{token}')");
        command.args(["--command", r"\o /dev/null", "--command", &init, "--command", r"\o"]);
    }
    let output = command.args(["--command", statement]).output().expect("psql runs");
    // The statements that fail here come before those that return rows.
    String::from_utf8([output.stderr, output.stdout].concat()).expect("psql prints UTF-8")
}
