//! The audit log: one line a decision, and never the token.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use pg_test::app::App;
use pg_test::login::{init, token};
use pg_test::{Alg, Cluster, Issuer, SigningKey, claims};
use serde_json::{Value, json};

use crate::server::{preloaded, started};

/// A server with few rejections, so that each has its line.
static QUIET: LazyLock<Cluster> = LazyLock::new(|| started(preloaded()));

fn lines(cluster: &Cluster, app: &App) -> Vec<Value> {
    let log = cluster.log();
    let lines = log.lines().filter_map(|line| line.split_once("pg_jwks audit: "));
    let values = lines.map(|(_, json)| serde_json::from_str::<Value>(json).expect("a line of JSON"));
    values.filter(|line| line["user"] == app.role()).collect()
}

fn issuer(key: &SigningKey) -> Issuer {
    let issuer = Issuer::start();
    issuer.publish(&[key]);
    issuer
}

#[test]
fn each_level_logs_what_it_says() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    for (level, expected) in [
        (None, vec!["rejected"]),
        (Some("off"), vec![]),
        (Some("rejected"), vec!["rejected"]),
        (Some("all"), vec!["accepted", "rejected"]),
    ] {
        let app = App::of(&QUIET, &issuer, &[]);
        if let Some(level) = level {
            app.set("audit_log", level);
        }
        let mut session = app.connect();
        init(&mut session, &token(&key, issuer.url())).expect("accepted");
        let mut expired = claims(issuer.url(), "alice");
        expired["exp"] = json!(pg_test::now() - 1000);
        init(&mut session, &key.sign(&expired)).expect_err("expired");
        // Decisions about tokens are in the log before the client hears of them.
        let lines = lines(&QUIET, &app);
        let decisions: Vec<_> = lines.iter().map(|line| line["decision"].as_str().expect("a decision")).collect();
        assert_eq!(decisions, expected, "{level:?}");
        if let Some(rejected) = lines.iter().find(|line| line["decision"] == "rejected") {
            assert_eq!(
                (&rejected["check"], &rejected["reason"]),
                (&json!("expiry"), &json!("token expired")),
                "{rejected}"
            );
        }
    }
}

#[test]
fn only_the_named_claims_are_logged_and_only_of_accepted_tokens() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    let app = App::of(&QUIET, &issuer, &[("audit_log", "all"), ("audit_claims", "sub, team, absent")]);
    let mut session = app.connect();
    let mut good = claims(issuer.url(), "alice\nforged: line");
    good["team"] = json!({ "name": "blue" });
    good["email"] = json!("alice@example.com");
    let good = key.sign(&good);
    init(&mut session, &good).expect("accepted");
    init(&mut session, &good).expect("accepted");
    let mut other = claims(issuer.url(), "mallory");
    other["aud"] = json!("other");
    let bad = key.sign(&other);
    init(&mut session, &bad).expect_err("for another audience");
    let lines = lines(&QUIET, &app);
    assert_eq!(lines.len(), 3, "one a decision, remembered tokens included");
    assert_eq!(lines[0]["claims"], json!({ "sub": "alice\nforged: line", "team": { "name": "blue" } }));
    assert!(lines[2].get("claims").is_none());
    let log = QUIET.log();
    assert!(!log.contains("mallory") && !log.contains("alice@example.com"));
    for token in [good, bad] {
        for part in token.split('.') {
            assert!(!log.contains(part), "a part of a token is in the log");
        }
    }
}

#[test]
fn a_flood_of_rejections_does_not_fill_the_log() {
    let cluster = started(preloaded());
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    let app = App::of(&cluster, &issuer, &[]);
    let begun = std::time::Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = app.connect();
                (0..200).for_each(|_| drop(init(&mut session, "nonsense").expect_err("no token")));
            });
        }
    });
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a few") + 2;
    let logged = lines(&cluster, &app).len();
    assert!((10..=10 * seconds + 4).contains(&logged), "{logged} lines in {seconds} s");
    // A later line tells how many there were.
    thread::sleep(Duration::from_millis(1100));
    init(&mut app.connect(), "nonsense").expect_err("no token");
    let lines = lines(&cluster, &app);
    let left_out: u64 = lines.iter().filter_map(|line| line["left_out_before"].as_u64()).sum();
    assert_eq!(usize::try_from(left_out).expect("a few") + lines.len(), 801);
}

#[test]
fn a_client_that_listens_to_log_messages_hears_no_audit_line() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    let app = App::of(&QUIET, &issuer, &[("audit_log", "all")]);
    let mut psql = QUIET.psql();
    psql.env("PGUSER", app.role()).args(["-At", "-c", "SET client_min_messages = log", "-c"]);
    let output =
        psql.arg(format!("SELECT auth.jwt_session_init('{}')", token(&key, issuer.url()))).output().expect("psql");
    assert!(output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("audit"), "{output:?}");
    assert_eq!(lines(&QUIET, &app).len(), 1);
}

/// From a token that nobody believes, what helps to find its sender.
#[test]
fn a_rejection_has_the_origin_of_the_token_and_of_the_client() {
    let key = SigningKey::generate(Alg::Es256, "which key");
    let issuer = issuer(&key);
    let app = App::of(&QUIET, &issuer, &[]);
    let mut claims = claims(issuer.url(), "mallory of the origin");
    claims["aud"] = json!(["shop", "\u{fc}ber"]);
    init(&mut app.connect(), &key.sign(&claims)).expect_err("for another audience");
    let lines = lines(&QUIET, &app);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    for (name, value) in [
        ("iss", json!(issuer.url())),
        ("aud", json!(["shop", "\u{fc}ber"])),
        ("kid", json!("which key")),
        ("remote_host", json!("127.0.0.1")),
        ("reason", json!("audience not accepted")),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(!QUIET.log().contains("mallory of the origin"));
}

#[test]
fn a_client_on_the_same_machine_is_local() {
    let app = App::new(&QUIET, &[]);
    let mut psql = QUIET.psql();
    psql.env("PGUSER", app.role()).env("PGHOST", QUIET.socket_dir());
    let output = psql.args(["-c", "SELECT auth.jwt_session_init('nonsense')"]).output().expect("psql");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(lines(&QUIET, &app)[0]["remote_host"], "[local]");
}

#[test]
fn a_flood_hides_neither_other_users_nor_other_reasons() {
    let cluster = started(preloaded());
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    let [flood, quiet] = [App::of(&cluster, &issuer, &[]), App::of(&cluster, &issuer, &[])];
    let mut expired = claims(issuer.url(), "alice");
    expired["exp"] = json!(pg_test::now() - 1000);
    let expired = key.sign(&expired);
    let (mut session, mut other) = (flood.connect(), quiet.connect());
    for _ in 0..300 {
        init(&mut session, "nonsense").expect_err("no token");
    }
    init(&mut other, "nonsense").expect_err("no token");
    init(&mut session, &expired).expect_err("expired");
    assert_eq!(lines(&cluster, &quiet).len(), 1);
    let reasons: Vec<_> = lines(&cluster, &flood).iter().map(|line| line["reason"].to_string()).collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "\"token expired\"").count(), 1, "{reasons:?}");
}

/// Whatever SQL writes into the log, the words with which lines of the audit log begin are the module's.
#[test]
fn no_statement_imitates_a_line() {
    let cluster = started(preloaded());
    let app = App::new(&cluster, &[]);
    let mut session = app.connect();
    let line = format!("pg_jwks audit: {{\"decision\":\"accepted\",\"user\":\"{}\",\"nonce\":\"forged\"}}", app.role());
    let mark = cluster.log_mark();
    for statement in [
        format!("DO $$BEGIN RAISE LOG '{line}'; END$$"),
        format!("DO $$BEGIN RAISE LOG E'\\n{line}' USING DETAIL = '{line}', HINT = '{line}'; END$$"),
        format!("DO $$BEGIN EXECUTE 'SELECT 1 / 0 /* {line} */'; END$$"),
        format!("SELECT 1 / 0 /*\n{line}\n*/"),
        format!("SELECT '{line}'::int"),
        format!("SET work_mem = '{line}'"),
    ] {
        drop(session.batch_execute(&statement));
    }
    // A line of the module's, also from within a function.
    let caller = "DO $$BEGIN PERFORM auth.jwt_session_init('nonsense'); END$$ -- pg_jwks audit:";
    session.batch_execute(caller).expect_err("no token");
    let log = cluster.log_since(mark);
    assert!(log.contains("LOG:  imitated line: {"), "{log}");
    let genuine: Vec<_> = log.lines().filter(|line| line.contains("pg_jwks audit:")).collect();
    let [genuine] = genuine[..] else { panic!("{genuine:?}") };
    assert!(genuine.contains("not three parts"), "{genuine}");
    let next = log.lines().skip_while(|line| *line != genuine).nth(1).unwrap_or_default();
    assert!(next.contains("ERROR:  JWT rejected"), "no CONTEXT and no STATEMENT: {next}");
}
