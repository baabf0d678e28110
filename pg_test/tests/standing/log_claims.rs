//! `pg_jwks.log_claims`: whose session a line of the server log is about.

use crate::server::*;
use pg_test::Cluster;
use pg_test::cluster::Options;
use pg_test::parallel::{PARALLEL, rows_for_workers};
use pg_test::pg_error;
use pg_test::wait::eventually;
use serde_json::{Value, json};

fn options_of(claims: &str) -> Options {
    options().setting("pg_jwks.log_claims", claims).setting("log_statement", "all")
}

/// The lines of the log after `run` that have these words, with what stands in the next line if that is their detail.
fn logged(cluster: &Cluster, words: &str, act: impl FnOnce()) -> String {
    let mark = cluster.log_mark();
    act();
    eventually(words, || {
        let log = cluster.log_since(mark);
        let lines: Vec<_> = log.lines().collect();
        let at = lines.iter().position(|line| line.contains(words))?;
        lines.get(at + 1).map(|next| format!("{}\n{next}", lines[at]))
    })
}

#[test]
fn every_line_of_a_session_with_identity_has_its_claims() {
    let cluster = started(options_of("sub, org.id").setting("log_min_duration_statement", "0"));
    let mut session = cluster.connect("app", "app");
    let before = logged(&cluster, "SELECT 'nobody'", || run(&mut session, "SELECT 'nobody'"));
    assert!(!before.contains("claims:"), "{before}");
    init(&mut session, &token_with(&json!({ "org": { "id": 7 } }))).expect("a good token");
    let statement = logged(&cluster, "SELECT 'somebody'", || run(&mut session, "SELECT 'somebody'"));
    assert!(statement.contains("DETAIL:  claims: sub=alice, org.id=7"), "{statement}");
    let duration = logged(&cluster, "duration: ", || run(&mut session, "SELECT 'somebody'"));
    assert!(duration.contains("DETAIL:  claims: sub=alice, org.id=7"), "{duration}");
    let error = logged(&cluster, "division by zero", || drop(session.batch_execute("SELECT 1 / 0")));
    assert!(error.contains("DETAIL:  claims: sub=alice, org.id=7"), "{error}");
    // A detail of PostgreSQL's own stays before it, and the client gets that alone.
    let mut told = None;
    let detailed = logged(&cluster, "duplicate key", || {
        run(&mut session, "CREATE TEMP TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        told = session.batch_execute("INSERT INTO t VALUES (1)").err();
    });
    assert!(detailed.contains("DETAIL:  Key (id)=(1) already exists. claims: sub=alice, org.id=7"), "{detailed}");
    let told = pg_error(&told.expect("an error"));
    assert_eq!(told.detail.as_deref(), Some("Key (id)=(1) already exists."));
    for message in ["SELECT 1 / 0", "DO $$BEGIN RAISE EXCEPTION 'x'; END$$"] {
        assert!(!format!("{:?}", refused(&mut session, message)).contains("claims:"), "{message}");
    }
    run(&mut session, "RESET ALL");
    let after = logged(&cluster, "SELECT 'nobody again'", || run(&mut session, "SELECT 'nobody again'"));
    assert!(!after.contains("claims:"), "{after}");
}

#[test]
fn lines_change_with_the_identity_within_a_transaction() {
    let cluster = started(options_of("sub"));
    let mut session = alice(cluster.connect("app", "app"));
    run(&mut session, "BEGIN; SAVEPOINT s");
    session.execute("SELECT auth.jwt_session_init($1, true)", &[&token("bob")]).expect("a good token");
    let bob = logged(&cluster, "SELECT 'as bob'", || run(&mut session, "SELECT 'as bob'"));
    assert!(bob.contains("claims: sub=bob"), "{bob}");
    run(&mut session, "ROLLBACK TO s");
    let alice = logged(&cluster, "SELECT 'as alice'", || run(&mut session, "SELECT 'as alice'"));
    assert!(alice.contains("claims: sub=alice"), "{alice}");
    run(&mut session, "COMMIT");
}

#[test]
fn hostile_claims_are_harmless() {
    let cluster = started(options_of("sub"));
    let hostile = format!("x\"\n2026-01-01 LOG:  pg_jwks audit: {{}}, sub=admin {}", "y".repeat(10_000));
    let mut session = with_identity(cluster.connect("app", "app"), &token_with(&json!({ "sub": hostile })));
    let line = logged(&cluster, "SELECT 'hostile'", || run(&mut session, "SELECT 'hostile'"));
    assert!(line.contains(r#"claims: sub="x\"\n2026-01-01 LOG:"#), "{line}");
    assert!(line.len() < 1000 && line.ends_with("..."), "{line}");
    assert!(!cluster.log().lines().any(|line| line.starts_with("2026-01-01 LOG:")));
}

#[test]
fn parallel_workers_say_whose_they_are() {
    let cluster = started(options_of("sub"));
    let mut session = alice(cluster.connect("app", "app"));
    run(&mut session, PARALLEL);
    run(
        &mut admin(&cluster),
        "CREATE FUNCTION told(id int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $$
         BEGIN IF id = 3000 THEN RAISE LOG 'told by %', pg_backend_pid(); END IF; RETURN id; END$$",
    );
    let line = logged(&cluster, "told by ", || {
        session.query("SELECT sum(told(id)) FROM big", &[]).expect("a sum");
    });
    assert!(line.contains("claims: sub=alice"), "{line}");
    assert_eq!(rows_for_workers(&mut session, "big"), 10_000);
}

#[test]
fn the_other_formats_have_them_too() {
    let cluster = started(
        options_of("sub")
            .setting("logging_collector", "on")
            .setting("log_directory", "log")
            .setting("log_filename", "test.log")
            .setting("log_destination", "stderr,csvlog,jsonlog"),
    );
    let mut session = alice(cluster.connect("app", "app"));
    run(&mut session, "SELECT 'collected'");
    let read = |name: &str| {
        let path = cluster.data_dir().join("log").join(name);
        eventually(name, || std::fs::read_to_string(&path).ok().filter(|text| text.contains("SELECT 'collected'")))
    };
    let csv = read("test.csv");
    assert!(
        csv.lines().any(|line| line.contains("SELECT 'collected'") && line.contains("\"claims: sub=alice\"")),
        "{csv}"
    );
    let json: Value = read("test.json")
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["message"].as_str().is_some_and(|message| message.contains("SELECT 'collected'")))
        .expect("a line");
    assert_eq!(json["detail"], "claims: sub=alice");
    assert!(read("test.log").contains("DETAIL:  claims: sub=alice"));
}

#[test]
fn only_superusers_choose_what_is_logged() {
    let database = Database::new("log_claims");
    let mut session = alice(database.app());
    assert_eq!(refused(&mut session, "SET pg_jwks.log_claims = ''").sqlstate, "42501");
    let mut admin = database.superuser();
    run(&mut admin, "LOAD 'pg_jwks'");
    assert_eq!(refused(&mut admin, "SET pg_jwks.log_claims = 'a..b'").sqlstate, "22023");
}

#[test]
#[cfg_attr(without_pgaudit, ignore = "the distribution has no pgaudit for this PostgreSQL")]
fn lines_of_pgaudit_have_the_claims_in_either_order_of_loading() {
    for libraries in ["pgaudit, pg_jwks", "pg_jwks, pgaudit"] {
        let cluster = started(
            options()
                .setting("shared_preload_libraries", libraries)
                .setting("pg_jwks.log_claims", "sub")
                .setting("pgaudit.log", "read"),
        );
        let mut session = alice(cluster.connect("app", "app"));
        let words = "AUDIT: SESSION,";
        let line = logged(&cluster, words, || drop(notes(&mut session)));
        assert!(line.contains("note") && line.contains("DETAIL:  claims: sub=alice"), "{libraries}: {line}");
        run(&mut session, "RESET ALL");
        // A line of the next statement shows that there is no detail between.
        let line = logged(&cluster, words, || drop([notes(&mut session), notes(&mut session)]));
        assert!(!line.contains("claims:"), "{libraries}: {line}");
    }
}
