//! `auth.jwt_sessions`: who is connected as whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::*;
use pg_test::Cluster;
use pg_test::wait::eventually;
use postgres::Client;
use serde_json::{Value, json};

fn preloaded() -> Cluster {
    started(options().setting("shared_preload_libraries", "pg_jwks").setting("pg_jwks.tenant_claim", "org.id"))
}

fn pid(session: &mut Client) -> i32 {
    value(session, "SELECT pg_backend_pid()")
}

/// The row of a process, if it has one.
fn row(admin: &mut Client, pid: i32) -> Option<Value> {
    let query = "SELECT to_jsonb(s) - 'since' FROM auth.jwt_sessions s WHERE pid = $1";
    admin.query_opt(query, &[&pid]).expect("jwt_sessions").map(|row| row.get(0))
}

#[test]
fn a_session_is_shown_with_its_identity_and_without_it_not() {
    let cluster = preloaded();
    let mut admin = admin(&cluster);
    let mut session = cluster.connect("app", "app");
    let pid = pid(&mut session);
    assert_eq!(row(&mut admin, pid), None);
    let claims = json!({ "org": { "id": "t-7" }, "sid": "s-1", "jti": "j-1", "act": { "sub": "support" }, "exp": 4102444800_i64 });
    init(&mut session, &token_with(&claims)).expect("a good token");
    let shown = row(&mut admin, pid).expect("a row");
    let expected = json!({
        "pid": pid, "issuer": ISSUER, "subject": "alice", "tenant": "t-7", "session": "s-1", "token_id": "j-1",
        "actor": "support", "origin": "init", "is_local": false, "expires_at": "2100-01-01T00:00:00+00:00",
    });
    assert_eq!(shown, expected);
    assert_eq!(value::<String>(&mut session, "SELECT auth.actor()"), "support");
    for end in ["SELECT auth.jwt_session_clear()", "RESET ALL", "DISCARD ALL", "SET pg_jwks.session = ''"] {
        init(&mut session, &token("alice")).expect("a good token");
        assert!(row(&mut admin, pid).is_some(), "before {end}");
        run(&mut session, end);
        assert_eq!(row(&mut admin, pid), None, "after {end}");
    }
    init(&mut session, &token("alice")).expect("a good token");
    init(&mut session, "a.b.c").expect_err("no token");
    assert_eq!(row(&mut admin, pid), None, "after a refusal");
    init(&mut session, &token("alice")).expect("a good token");
    drop(session);
    eventually("the end", || row(&mut admin, pid).is_none().then_some(()));
}

#[test]
fn transactions_show_the_identity_in_force() {
    let cluster = preloaded();
    let mut admin = admin(&cluster);
    let mut session = alice(cluster.connect("app", "app"));
    let pid = pid(&mut session);
    let mut subject =
        || row(&mut admin, pid).map(|row| (row["subject"].as_str().map(str::to_owned), row["is_local"].clone()));
    let of = |sub: &str, local| Some((Some(sub.to_owned()), Value::from(local)));
    run(&mut session, "BEGIN; SAVEPOINT s");
    session.execute("SELECT auth.jwt_session_init($1, true)", &[&token("bob")]).expect("a good token");
    assert_eq!(subject(), of("bob", true));
    run(&mut session, "ROLLBACK TO s");
    run(&mut session, "SELECT 1");
    assert_eq!(subject(), of("alice", false));
    session.execute("SELECT auth.jwt_session_init($1, true)", &[&token("bob")]).expect("a good token");
    run(&mut session, "COMMIT");
    run(&mut session, "SELECT 1");
    assert_eq!(subject(), of("alice", false));
}

#[test]
fn a_tenant_is_shown_once_it_was_looked_up_and_its_sessions_can_be_ended() {
    let cluster = started(
        options()
            .setting("shared_preload_libraries", "pg_jwks")
            .setting("pg_jwks.tenant_lookup", "public.member (who, team)"),
    );
    let mut admin = admin(&cluster);
    run(
        &mut admin,
        "CREATE TABLE member (who text, team text); INSERT INTO member VALUES ('alice', 'red'), ('bob', 'blue')",
    );
    let mut red = alice(cluster.connect("app", "app"));
    let mut blue = with_identity(cluster.connect("app", "app"), &token("bob"));
    let (red_pid, blue_pid) = (pid(&mut red), pid(&mut blue));
    assert_eq!(row(&mut admin, red_pid).expect("a row")["tenant"], Value::Null);
    for session in [&mut red, &mut blue] {
        run(session, "SELECT auth.tenant_id()");
    }
    assert_eq!(row(&mut admin, red_pid).expect("a row")["tenant"], "red");
    assert_eq!(row(&mut admin, blue_pid).expect("a row")["tenant"], "blue");
    run(&mut admin, "SELECT pg_terminate_backend(pid) FROM auth.jwt_sessions WHERE tenant = 'red'");
    eventually("the end of red", || red.batch_execute("SELECT 1").err());
    run(&mut blue, "SELECT 1");
    let joined = "SELECT count(*) FROM auth.jwt_sessions JOIN pg_stat_activity USING (pid) WHERE usename = 'app'";
    eventually("one session", || (value::<i64>(&mut admin, joined) == 1).then_some(()));
}

#[test]
fn only_members_of_pg_read_all_stats_see_who_is_connected() {
    let cluster = preloaded();
    let _session = alice(cluster.connect("app", "app"));
    let mut other = cluster.connect("other", "app");
    for query in ["SELECT * FROM auth.jwt_sessions", "SELECT * FROM auth.jwt_session_list()"] {
        assert_eq!(refused(&mut other, query).sqlstate, "42501", "{query}");
    }
    run(&mut admin(&cluster), "GRANT pg_read_all_stats TO other");
    assert_eq!(value::<i64>(&mut other, "SELECT count(*) FROM auth.jwt_sessions"), 1);
    run(&mut cluster.client(), "CREATE DATABASE elsewhere");
    assert_eq!(value::<i64>(&mut cluster.connect("other", "elsewhere"), "SELECT count(*) FROM auth.jwt_sessions"), 0);
}

#[test]
fn without_preloading_it_says_what_to_do() {
    let database = Database::new("not_preloaded");
    let error = refused(&mut database.superuser(), "SELECT * FROM auth.jwt_sessions");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("55000", "pg_jwks is not preloaded"));
    assert!(error.hint.is_some_and(|hint| hint.contains("shared_preload_libraries")));
}

#[test]
fn texts_of_any_length_and_kind_are_shown_as_far_as_there_is_room() {
    let cluster = preloaded();
    let mut admin = admin(&cluster);
    let long = "\u{1}é\"\\\n".repeat(150);
    let claims = json!({ "sub": long, "org": { "id": long }, "sid": long, "jti": long, "act": { "sub": long } });
    let mut session = with_identity(cluster.connect("app", "app"), &token_with(&claims));
    let shown = row(&mut admin, pid(&mut session)).expect("a row");
    for member in ["subject", "tenant", "session", "token_id", "actor"] {
        let text = shown[member].as_str().expect("a text");
        assert!(long.starts_with(text) && text.chars().count() >= 40, "{member} {text}");
    }
}

/// Writers change all the time; each row that is read is whole.
#[test]
fn no_row_is_torn_while_identities_change() {
    let cluster = preloaded();
    let stop = AtomicBool::new(false);
    let tokens: Vec<String> = (0..4)
        .map(|number| {
            let name = format!("user-{number}-{}", "x".repeat(50 * number));
            token_with(&json!({ "sub": name, "sid": name, "jti": name }))
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = cluster.connect("app", "app");
                while !stop.load(Ordering::Relaxed) {
                    for token in &tokens {
                        init(&mut session, token).expect("a good token");
                    }
                }
            });
        }
        let mut admin = admin(&cluster);
        let (mut rows, end) = (0, Instant::now() + Duration::from_secs(3));
        while Instant::now() < end {
            for row in admin.query("SELECT subject, session, token_id FROM auth.jwt_sessions", &[]).expect("rows") {
                let [subject, session, token_id] = [0, 1, 2].map(|column| row.get::<_, String>(column));
                assert!(subject == session && session == token_id, "{subject} {session} {token_id}");
                rows += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(rows > 100, "{rows} rows show nothing");
    });
}
