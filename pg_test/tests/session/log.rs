//! No token reaches the server log or an error.

use std::collections::HashSet;
use std::sync::Mutex;

use pg_test::{claims, claims_with, now};
use postgres::{Client, NoTls};
use serde_json::json;

use crate::server::*;

/// Any so long a part of a token in the log is a leak.
const FRAGMENT: usize = 16;

/// Only the payloads of this module's tokens have this.
const MARK: &str = "conspicuous";

/// The tokens that a test used.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    fn add(&mut self, token: String) -> String {
        self.0.push(token.clone());
        token
    }

    /// Where the text has a part of one of the tokens.
    fn found_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        let parts = self.0.iter().flat_map(|token| token.split('.'));
        let fragments: HashSet<&[u8]> = parts.flat_map(|part| part.as_bytes().windows(FRAGMENT)).collect();
        let at = text.as_bytes().windows(FRAGMENT).position(|window| fragments.contains(window))?;
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        text[line..].lines().next()
    }

    #[track_caller]
    pub(super) fn assert_not_in(&self, text: &str, what: &str) {
        if let Some(line) = self.found_in(text) {
            panic!("{what} has part of a token:\n{line}");
        }
        if let Some(line) = text.lines().find(|line| line.contains(MARK)) {
            panic!("{what} has a claim:\n{line}");
        }
    }
}

fn marked(sub: &str) -> serde_json::Value {
    let mut claims = claims(ISSUER, sub);
    claims["secret"] = json!(MARK);
    claims
}

/// Tokens of all kinds, good ones first.
pub(super) fn tokens(secrets: &mut Secrets) -> (Vec<String>, Vec<String>) {
    let with = |mut more: serde_json::Value| {
        more["secret"] = json!(MARK);
        claims_with(ISSUER, "alice", &more)
    };
    let good = vec![
        KEY.sign(&marked("alice")),
        KEY.sign(&with(json!({ "role": "admin", "list": (0..300).collect::<Vec<_>>() }))),
        KEY.sign_raw(br#"{ "typ": "JWT", "alg": "EdDSA", "kid": "k1" }"#, marked("bob").to_string().as_bytes()),
        KEY.sign_raw(b"{\n\"kid\":\"k1\",\"alg\":\"EdDSA\"}", marked("bob").to_string().as_bytes()),
    ];
    let whole = KEY.sign(&marked("carol"));
    let (without_signature, _) = whole.rsplit_once('.').expect("a signature");
    let bad = vec![
        FORGER.sign(&marked("bob")),
        KEY.sign(&with(json!({ "exp": now() - 3600 }))),
        KEY.sign(&with(json!({ "nbf": now() + 3600 }))),
        KEY.sign(&with(json!({ "aud": "shop" }))),
        KEY.sign(&with(json!({ "iss": "https://elsewhere.test" }))),
        KEY.sign(&with(json!({ "sub": 7 }))),
        KEY.sign(&with(json!({ "sub": format!("{MARK}\u{0}") }))),
        KEY.sign_raw(br#"{"alg":"EdDSA","kid":"k1"}"#, format!("{{\"sub\":\"{MARK}\",\"sub\":\"bob\"}}").as_bytes()),
        KEY.sign_raw(br#"{"alg":"EdDSA","kid":"k1"}"#, format!("{MARK} no JSON at all").as_bytes()),
        KEY.sign_raw(br#"{"alg":"none","kid":"k2"}"#, marked("bob").to_string().as_bytes()),
        KEY.sign_raw(br#"{"alg":"EdDSA","kid":"k2"}"#, marked("bob").to_string().as_bytes()),
        KEY.sign_raw(br#"{"alg":"EdDSA","kid":"k1","crit":["conspicuous"]}"#, marked("bob").to_string().as_bytes()),
        without_signature.to_owned(),
        format!("{without_signature}."),
        format!("{whole}.{whole}"),
        format!("{whole}."),
        whole[..whole.len() / 2].to_owned(),
        format!("{}.{}", whole, "A".repeat(17_000)),
        format!("Bearer {whole}"),
        format!(" {whole} "),
        format!("\"{whole}\""),
        format!("access_token={whole}"),
        format!("token%3D{whole}"),
    ];
    for token in good.iter().chain(&bad) {
        secrets.add(token.clone());
    }
    (good, bad)
}

/// Everything that the server may say about an error to its client.
fn said(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(String::new, |error| format!("{error:?}"))
}

/// Runs a statement and keeps what the server says of it, error or not.
fn simple(client: &mut Client, statement: &str, heard: &mut String) {
    if let Err(error) = client.batch_execute(statement) {
        heard.push_str(&said(&error));
        heard.push('\n');
        // Where a transaction was open.
        let _ = client.batch_execute("ROLLBACK");
    }
}

/// The token in every place of a statement that somebody would put it.
pub(super) fn use_everywhere(client: &mut Client, token: &str, heard: &mut String) {
    let quoted = token.replace('\'', "''");
    for statement in [
        format!("SELECT auth.jwt_session_init('{quoted}')"),
        format!("SELECT auth.jwt_session_init('{quoted}', true)"),
        format!("BEGIN; SELECT auth.jwt_session_init('{quoted}'); COMMIT"),
        format!("SELECT auth.jwt_session_init('{quoted}'), 1 / 0"),
        format!("SELECT auth.jwt_session_init('{quoted}'); SELECT 1 / 0 /* {quoted} */"),
        format!("SELECT auth.jwt_session_init(E'{quoted}')"),
        format!("SELECT auth.jwt_session_init($t${quoted}$t$)"),
        format!("SELECT * FROM auth.jwt_explain('{quoted}')"),
        format!("SELECT auth.jwt_session_init('{quoted}') FROM nowhere"),
        format!("SELECT auth.jwt_session_init('{quoted}'"),
        format!("SELECT '{quoted}'::int"),
        format!("DO $do$BEGIN PERFORM auth.jwt_session_init('{quoted}'); END$do$"),
        format!(
            "DO $do$DECLARE t text := '{quoted}'; BEGIN PERFORM auth.jwt_session_init(t); RAISE 'oh: %', t; END$do$"
        ),
        format!("DO $do$BEGIN EXECUTE 'SELECT auth.jwt_session_init($1)' USING '{quoted}'; END$do$"),
        format!("DO $do$BEGIN EXECUTE $x$SELECT auth.jwt_session_init('{quoted}') / 0$x$; END$do$"),
        format!(
            "DO $do$BEGIN RAISE LOG 'log {quoted}'; RAISE WARNING 'warning' USING DETAIL = '{quoted}', HINT = '{quoted}'; END$do$"
        ),
        format!("PREPARE p AS SELECT auth.jwt_session_init('{quoted}'); EXECUTE p; DEALLOCATE p"),
        format!("PREPARE p (text) AS SELECT auth.jwt_session_init($1); EXECUTE p('{quoted}')"),
        "DEALLOCATE ALL".to_owned(),
        format!("SET pg_jwks.session = '{quoted}'"),
        format!("SET pg_jwks.issuer = '{quoted}'"),
        format!("SELECT set_config('pg_jwks.session', '{quoted}', false)"),
        format!("SELECT set_config('work_mem', '{quoted}', false)"),
        format!("COPY (SELECT auth.jwt_session_init('{quoted}')) TO STDOUT"),
    ] {
        simple(client, &statement, heard);
    }
    for statement in [
        "SELECT auth.jwt_session_init($1)",
        "SELECT auth.jwt_session_init($1, true)",
        "SELECT auth.jwt_session_init($1)::text::int",
        "SELECT length($1) / 0",
        "SELECT $1::text::int",
        "SELECT count(*) FROM auth.jwt_explain($1)",
        "SELECT set_config('pg_jwks.session', $1, false)",
    ] {
        if let Err(error) = client.query(statement, &[&token]) {
            heard.push_str(&said(&error));
            heard.push('\n');
        }
    }
}

#[test]
fn no_token_is_logged_or_repeated_in_an_error() {
    let mut secrets = Secrets::default();
    let (good, bad) = tokens(&mut secrets);
    let server = &*PRELOADED;
    let notices = std::sync::Arc::new(Mutex::new(String::new()));
    let mut config = server.config();
    let sink = notices.clone();
    config.user("app").dbname("app").notice_callback(move |notice| {
        sink.lock().expect("no panic").push_str(&format!("{notice:?}\n"));
    });
    let mut client = config.connect(NoTls).expect("a connection");
    let mut heard = String::new();
    for token in good.iter().chain(&bad) {
        use_everywhere(&mut client, token, &mut heard);
    }
    // So that what was logged for it is complete.
    drop(client);
    let log = server.log();
    assert!(
        log.contains("<JWT>") && log.contains("JWT rejected: signature invalid"),
        "the log is not what it should be"
    );
    assert!(heard.contains("JWT rejected: signature invalid"), "{heard}");
    secrets.assert_not_in(&heard, "an error");
    secrets.assert_not_in(&notices.lock().expect("no panic"), "a notice");
    secrets.assert_not_in(&log, "the log");
}

/// The waiting statement of another backend is in a deadlock's report.
#[test]
fn no_token_is_logged_with_a_deadlock() {
    let mut secrets = Secrets::default();
    let token = secrets.add(KEY.sign(&marked("alice")));
    let server = &*PRELOADED;
    run(
        &mut server.connect("postgres", "app"),
        "CREATE TABLE lock_a (); CREATE TABLE lock_b (); GRANT ALL ON lock_a, lock_b TO PUBLIC",
    );
    let mark = server.log_mark();
    let lock = |first: &'static str, second: &'static str, barrier: &std::sync::Barrier| {
        let mut client = server.connect("app", "app");
        run(&mut client, &format!("BEGIN; LOCK {first}"));
        barrier.wait();
        client.batch_execute(&format!("{}; LOCK {second}", init_statement(&token))).map_err(|error| said(&error)).err()
    };
    let barrier = std::sync::Barrier::new(2);
    let errors: String = std::thread::scope(|scope| {
        let one = scope.spawn(|| lock("lock_a", "lock_b", &barrier));
        let other = scope.spawn(|| lock("lock_b", "lock_a", &barrier));
        [one, other].map(|thread| thread.join().expect("a thread").unwrap_or_default()).concat()
    });
    assert!(errors.contains("deadlock detected"), "{errors}");
    let log = server.log_since(mark);
    assert!(log.contains("Process") && log.contains("<JWT>"), "{log}");
    secrets.assert_not_in(&log, "the log");
    secrets.assert_not_in(&errors, "an error");
}

/// Without preloading, from the first call on.
#[test]
fn no_token_is_logged_by_default() {
    let mut secrets = Secrets::default();
    let (good, bad) = tokens(&mut secrets);
    let server = server();
    let mark = server.log_mark();
    let mut heard = String::new();
    for token in good.iter().chain(&bad) {
        let mut client = session();
        // The first statement of a session is what loads the library, and may fail itself.
        for first in [true, false] {
            if let Err(error) = client.execute("SELECT auth.jwt_session_init($1)", &[token]) {
                heard.push_str(&said(&error));
            }
            let literal = format!("SELECT auth.jwt_session_init('{token}')");
            if first {
                client = session();
            }
            simple(&mut client, &literal, &mut heard);
        }
        use_everywhere(&mut client, token, &mut heard);
    }
    let log = server.log_since(mark);
    assert!(log.contains("JWT rejected: signature invalid"), "{log}");
    secrets.assert_not_in(&heard, "an error");
    secrets.assert_not_in(&log, "the log");
}

/// What the log says of a rejected token is enough to act upon.
#[test]
fn a_rejection_is_logged_with_its_reason() {
    let mark = server().log_mark();
    let mut client = session();
    let token = token_with(json!({ "aud": "shop" }));
    try_init(&mut client, &token).expect_err("another audience");
    let log = server().log_since(mark);
    for part in ["JWT rejected: audience not accepted", "Claim \\\"aud\\\" must have \\\"app\\\"."] {
        assert!(log.contains(part), "{log}");
    }
}

/// The setting's value is no token, and nobody else reads it.
#[test]
fn the_token_is_not_kept_in_a_setting() {
    let mut secrets = Secrets::default();
    let token = secrets.add(token_with(json!({ "role": "admin" })));
    let mut client = superuser();
    try_init(&mut client, &token).expect("a good token");
    let all: String = value(&mut client, "SELECT string_agg(name || '=' || setting, chr(10)) FROM pg_settings");
    let session: String = value(&mut client, "SHOW pg_jwks.session");
    assert_eq!(secrets.found_in(&all), None);
    assert_eq!(secrets.found_in(&session), None);
}
