//! No token is in any form of the log, however much is logged: stderr, CSV and JSON, at the lowest level, with plans,
//! parameters, and the trees that anybody may ask for.

use std::fs;

use pg_test::Cluster;
use pg_test::wait::eventually;
use postgres::Client;

use super::log::{Secrets, tokens, use_everywhere};
use crate::server::*;

const DESTINATIONS: [&str; 3] = ["log", "csv", "json"];

/// Logs all that PostgreSQL can log.
fn server() -> Cluster {
    let mut options = options()
        .setting("shared_preload_libraries", "pg_jwks, auto_explain, pg_stat_statements")
        .setting("logging_collector", "on")
        .setting("log_destination", "stderr, csvlog, jsonlog")
        .setting("log_filename", "server.log")
        .setting("auto_explain.log_min_duration", "0")
        .setting("auto_explain.log_nested_statements", "on")
        .setting("auto_explain.log_verbose", "on")
        .setting("log_min_messages", "debug5")
        .setting("log_min_error_statement", "debug5")
        .setting("log_min_duration_statement", "0")
        .setting("log_parameter_max_length_on_error", "-1")
        .setting("log_error_verbosity", "verbose")
        .setting("log_statement", "all");
    for tree in ["parse", "rewritten", "plan"] {
        options = options.setting(&format!("debug_print_{tree}"), "on");
    }
    started(options)
}

/// Statements that keep the token as a text in their trees, beside those of the other tests.
fn use_in_utility_statements(client: &mut Client, token: &str) {
    for statement in [
        format!("EXPLAIN VERBOSE SELECT auth.jwt_session_init('{token}')"),
        format!("BEGIN; DECLARE c CURSOR FOR SELECT auth.jwt_session_init('{token}'); FETCH c; COMMIT"),
        format!(
            "CREATE PROCEDURE pg_temp.p(t text) LANGUAGE sql AS 'SELECT auth.jwt_session_init(t)'; CALL pg_temp.p('{token}')"
        ),
        format!("CREATE TEMP TABLE t AS SELECT '{token}'::text; DROP TABLE t"),
        format!("DO $do$BEGIN EXECUTE 'SET search_path = ''Bearer {token}'''; END$do$"),
        "RESET search_path".to_owned(),
    ] {
        // Some fail where others are about to be logged.
        drop(client.batch_execute(&statement));
        drop(client.batch_execute("ROLLBACK"));
    }
    client.query("EXPLAIN SELECT auth.jwt_session_init($1)", &[&token]).map(drop).unwrap_or_default();
    client.query("SELECT count(*) FROM note WHERE body = $1 OR owner = $1", &[&token]).expect("SELECT");
}

/// As the trees print a value: the numbers of its bytes.
fn as_numbers(text: &str) -> String {
    text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(" ")
}

/// The log as one line, for numbers go on in the next line.
fn joined(log: &str) -> String {
    log.replace("\\n", " ").replace("\\t", " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_token_is_in_any_form_of_the_log() {
    let mut secrets = Secrets::default();
    let (good, bad) = tokens(&mut secrets);
    let server = server();
    let mut client = server.connect("app", "app");
    let mut heard = String::new();
    for pretty in ["on", "off"] {
        run(&mut client, &format!("SET debug_pretty_print = {pretty}"));
        for token in [&good[0], &good[3], &bad[0]] {
            use_everywhere(&mut client, token, &mut heard);
            use_in_utility_statements(&mut client, token);
        }
    }
    run(&mut client, "DO $$BEGIN RAISE LOG 'that was all'; END$$");
    for destination in DESTINATIONS {
        let path = server.data_dir().join(format!("log/server.{destination}"));
        let log = eventually("the end of the log", || {
            let log = String::from_utf8_lossy(&fs::read(&path).ok()?).into_owned();
            log.contains("that was all").then_some(log)
        });
        assert!(log.contains("<JWT>") && log.contains(":constvalue"), "{destination} is not what it should be");
        secrets.assert_not_in(&log, destination);
        let log = joined(&log);
        assert!(log.contains("[...]"), "no value was left out of {destination}");
        assert!(!log.contains(&as_numbers("eyJ")), "{destination} has a token in numbers");
    }
}
