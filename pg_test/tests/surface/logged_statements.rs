//! Statements that set shared secrets are not in the log, however much is logged.

use std::sync::LazyLock;

use parking_lot::Mutex;
use pg_test::{Alg, Cluster, SigningKey, jwks};
use postgres::Client;

/// Logs all it can.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("log_statement", "all")
        .setting("log_min_duration_statement", "0")
        .setting("log_min_error_statement", "debug1")
        .setting("log_parameter_max_length_on_error", "-1")
        .setting("log_error_verbosity", "verbose")
        .setting("debug_print_parse", "on")
        .setting("debug_print_rewritten", "on")
        .setting("debug_print_plan", "on")
        .setting("debug_pretty_print", "off")
        .start()
});

/// What the log has of a session that does this with a JWK Set of a shared secret; the secret must not be in it.
#[track_caller]
fn log_of(work: impl FnOnce(&mut Client, &str)) -> String {
    // The log is everybody's.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let secret = SigningKey::generate(Alg::Hs256, "k");
    let mark = SERVER.log_mark();
    let mut client = SERVER.client();
    work(&mut client, &jwks(&[&secret]).to_string());
    drop(client);
    let log = SERVER.log_since(mark);
    let written = secret.public_jwk()["k"].as_str().expect("a secret").to_owned();
    assert!(!log.contains(&written), "the log has the secret: {log}");
    let numbers: Vec<_> = written.bytes().map(|byte| byte.to_string()).collect();
    let joined = log.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!joined.contains(&numbers.join(" ")), "the log has the secret in numbers: {log}");
    log
}

fn succeed(client: &mut Client, statement: &str) {
    client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}

/// What the client hears.
fn fail(client: &mut Client, statement: &str) -> String {
    let error = client.batch_execute(statement).expect_err(statement);
    format!("{:?}", error.as_db_error().expect("an error of the server's"))
}

#[test]
fn statements_that_set_secrets_are_logged_without_their_text() {
    let log = log_of(|client, keys| {
        for statement in [
            format!("SET pg_jwks.jwks = '{keys}'"),
            format!("SELECT set_config('pg_jwks.jwks', '{keys}', false)"),
            format!("ALTER ROLE postgres SET pg_jwks.jwks = '{keys}'"),
            "ALTER ROLE postgres RESET pg_jwks.jwks".to_owned(),
            format!("ALTER SYSTEM SET pg_jwks.jwks = '{keys}'"),
            "ALTER SYSTEM RESET pg_jwks.jwks".to_owned(),
            format!("DO $do$BEGIN EXECUTE $x$SET \"pg_jwks\".JWKS TO '{keys}'$x$; END$do$"),
        ] {
            succeed(client, &statement);
        }
    });
    assert!(log.contains("statement: <pg_jwks.jwks>\n"), "{log}");
    assert!(!log.contains("ALTER ROLE") && !log.contains("ALTER SYSTEM"), "{log}");
}

#[test]
fn parameters_that_are_secrets_are_not_logged() {
    let log = log_of(|client, keys| {
        client.execute("SELECT set_config('pg_jwks.jwks', $1, false)", &[&keys]).expect("set_config");
        client.execute("SELECT set_config($1, $2, false)", &[&"pg_jwks.jwks", &keys]).expect("set_config");
        client.execute("SELECT length($1), set_config($2, $1, false)", &[&keys, &"pg_jwks.jwks"]).expect("set_config");
        client.execute("SELECT set_config('pg_jwks.jwks', $1, false)::int", &[&keys]).expect_err("no integer");
        client.execute("SELECT set_config($1, $2, false)::int", &[&"pg_jwks.jwks", &keys]).expect_err("no integer");
    });
    let hidden = |line: &str| line.contains("execute ") && line.ends_with(": <pg_jwks.jwks>");
    assert!(log.lines().any(hidden), "{log}");
}

#[test]
fn secrets_of_prepared_statements_are_not_logged() {
    log_of(|client, keys| {
        succeed(client, "PREPARE p AS SELECT set_config('pg_jwks.jwks', $1, false)");
        succeed(client, &format!("EXECUTE p('{keys}')"));
        fail(client, &format!("EXECUTE p('{keys} no JSON')"));
    });
}

/// Neither the statement nor what an error repeats of it.
#[test]
fn errors_in_statements_about_secrets_do_not_repeat_them() {
    let log = log_of(|client, keys| {
        let heard = fail(client, &format!("SET pg_jwks.jwks '{keys}'"));
        assert!(heard.contains("syntax error at or near \\\"<pg_jwks.jwks>"), "{heard}");
        fail(client, &format!("SET pg_jwks.jwks = '{keys}"));
        fail(client, &format!("SET pg_jwks.jwks = '{keys} no JSON'"));
        fail(client, &format!("DO $do$BEGIN EXECUTE $x$SET pg_jwks.jwks '{keys}'$x$; END$do$"));
        fail(client, &format!("DO $do$BEGIN EXECUTE $x$ALTER SYSTEM SET pg_jwks.jwks = '{keys}'$x$; END$do$"));
        let heard = fail(client, &format!("DO $do$BEGIN EXECUTE $x$SET pg_jwks.jwks = '{keys} no JSON'$x$; END$do$"));
        assert!(heard.contains("inline_code_block"), "the client still hears the context: {heard}");
        fail(client, &format!("SELECT 1 / 0, set_config('pg_jwks.jwks', '{keys}', false)"));
    });
    for said in ["syntax error at or near", "division by zero"] {
        assert!(log.contains(said), "no {said} in {log}");
    }
}

#[test]
fn other_statements_are_logged_as_they_are() {
    let log = log_of(|client, _| {
        succeed(client, "SET pg_jwks.jwks_uri = 'https://login.example.com/jwks'");
        client.execute("SELECT set_config('pg_jwks.audience', $1, false)", &[&"parameter"]).expect("set_config");
        fail(client, "DO $do$BEGIN EXECUTE 'SELECT 1 / 0'; END$do$");
    });
    for said in [
        "statement: SET pg_jwks.jwks_uri = 'https://login.example.com/jwks'",
        "$1 = 'parameter'",
        "STATEMENT:  DO $do$BEGIN EXECUTE",
        "CONTEXT:  SQL statement \"SELECT 1 / 0\"",
    ] {
        assert!(log.contains(said), "no {said} in {log}");
    }
}
