//! `exp` is checked at every statement.

use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::server::*;
use pg_test::{PgError, now, pg_error};
use postgres::Client;
use serde_json::json;

/// A database where no clock skew is allowed.
static STRICT: LazyLock<&str> = LazyLock::new(|| {
    let name = database("expiry");
    run(&mut server().client(), &format!("ALTER DATABASE {name} SET pg_jwks.leeway = 0"));
    name
});

fn strict() -> Client {
    server().connect("app", &STRICT)
}

/// Until this many seconds since 1970, and a moment.
fn wait_until(seconds: i64) {
    let moment = UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()) + Duration::from_millis(20);
    if let Ok(left) = moment.duration_since(SystemTime::now()) {
        sleep(left);
    }
}

/// An identity of alice, and when it ends: in one to two seconds.
fn short_lived(client: &mut Client) -> i64 {
    let end = now() + 2;
    try_init(client, &token_with(json!({ "exp": end }))).expect("a good token");
    end
}

fn assert_expired(error: &PgError, what: &str) {
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT has expired"), "{what}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("auth.jwt_session_init()")), "{what}");
    assert!(!format!("{error:?}").contains("alice"), "{error:?}");
}

#[test]
fn readers_raise_once_the_token_has_expired() {
    let mut client = strict();
    let end = short_lived(&mut client);
    run(&mut client, "PREPARE before AS SELECT owner FROM note");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    run(&mut client, "EXECUTE before");
    wait_until(end);
    for read in [
        "SELECT auth.jwt()",
        "SELECT auth.session()",
        "SELECT auth.user_id()",
        "SELECT auth.uid()",
        "SELECT auth.role()",
        "SELECT auth.email()",
        "SELECT auth.claim('sub')",
        "SELECT auth.has_scope('x')",
        "SELECT auth.has_role('x')",
        "SELECT auth.organization()",
        "SELECT auth.organization_id()",
        "SELECT auth.expires_at()",
        "SELECT owner FROM note",
        "SELECT count(*) FROM big",
        "UPDATE note SET body = 'x'",
        "DELETE FROM note",
        "INSERT INTO note VALUES (9, 'alice', 'x')",
        "EXECUTE before",
        "DO $$BEGIN PERFORM auth.user_id(); END$$",
    ] {
        assert_expired(&refused(&mut client, read), read);
    }
    // It neither ends by itself nor keeps the session from going on.
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(identity(&mut client), None);
    init(&mut client, "bob");
    assert_eq!(identity(&mut client).as_deref(), Some("bob"));
}

#[test]
fn an_identity_does_not_expire_within_a_statement() {
    let mut client = strict();
    let end = short_lived(&mut client);
    let row = client
        .query_one(
            "SELECT count(*) FILTER (WHERE auth.user_id() = 'alice'), count(*), extract(epoch FROM clock_timestamp())::float8
             FROM generate_series(1, 30) n WHERE pg_sleep(0.1 + n * 0) IS NOT NULL",
            &[],
        )
        .expect("a statement that began in time");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (30, 30));
    assert!(row.get::<_, f64>(2) > end as f64, "the statement was too short to show anything");
    assert_expired(&refused(&mut client, "SELECT auth.user_id()"), "the next statement");
}

/// The moment that counts is the statement's, not the transaction's.
#[test]
fn an_identity_expires_within_a_transaction() {
    let mut client = strict();
    run(&mut client, "BEGIN");
    let end = short_lived(&mut client);
    run(
        &mut client,
        "DECLARE c CURSOR FOR SELECT auth.user_id() FROM generate_series(1, 10); FETCH 1 FROM c; SAVEPOINT s",
    );
    wait_until(end);
    assert_expired(&refused(&mut client, "FETCH 1 FROM c"), "a fetch from a cursor");
    run(&mut client, "ROLLBACK TO s");
    assert_expired(&refused(&mut client, "SELECT auth.user_id()"), "a later statement");
}

/// Each transaction of a procedure counts as a statement: otherwise one CALL could last for ever.
#[test]
fn an_identity_expires_within_a_procedure_that_commits() {
    let mut client = strict();
    let end = short_lived(&mut client);
    let error = refused(
        &mut client,
        "DO $$BEGIN
            FOR n IN 1..40 LOOP
                IF auth.user_id() <> 'alice' THEN RAISE 'somebody else'; END IF;
                PERFORM pg_sleep(0.1);
                COMMIT;
            END LOOP;
         END$$",
    );
    assert_expired(&error, "a procedure that commits");
    assert!(now() < end + 2, "it went on for too long");
}

#[test]
fn a_repeated_token_prolongs_nothing() {
    let mut client = strict();
    let end = now() + 2;
    let token = token_with(json!({ "exp": end }));
    for _ in 0..3 {
        try_init(&mut client, &token).expect("a good token");
        let expires: f64 = value(&mut client, "SELECT extract(epoch FROM auth.expires_at())::float8");
        assert_eq!(expires, end as f64);
        sleep(Duration::from_millis(200));
    }
    wait_until(end);
    assert_expired(&refused(&mut client, "SELECT auth.user_id()"), "after three inits");
}

/// A mistake that others make: a token that is remembered is never checked for `exp` again.
#[test]
fn a_cached_token_is_refused_once_expired() {
    let mut client = strict();
    let end = now() + 2;
    let token = token_with(json!({ "exp": end }));
    for _ in 0..2 {
        try_init(&mut client, &token).expect("a good token");
    }
    wait_until(end);
    for _ in 0..2 {
        let error = try_init(&mut client, &token).expect_err("an expired token");
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT rejected: token expired"));
        assert_eq!(identity(&mut client), None);
    }
}

/// What a rollback or the end of a local identity brings back has expired as well.
#[test]
fn an_identity_that_comes_back_has_expired_meanwhile() {
    let mut client = strict();
    let end = short_lived(&mut client);
    run(&mut client, &format!("BEGIN; {}", local_init_statement(&token("bob"))));
    wait_until(end);
    assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "bob");
    run(&mut client, "COMMIT");
    assert_expired(&refused(&mut client, "SELECT auth.user_id()"), "after the local identity");
    run(&mut client, &format!("BEGIN; {}; ROLLBACK", init_statement(&token("bob"))));
    assert_expired(&refused(&mut client, "SELECT auth.user_id()"), "after the rollback");
}

#[test]
fn the_leeway_counts_at_reads() {
    let mut client = superuser();
    run(&mut client, "SET pg_jwks.leeway = '60s'");
    try_init(&mut client, &token_with(json!({ "exp": now() - 30 }))).expect("a token within the leeway");
    let read = "SELECT auth.user_id()";
    assert_eq!(value::<String>(&mut client, read), "alice");
    for (leeway, good) in [(0, false), (29, false), (45, true), (5, false), (300, true)] {
        run(&mut client, &format!("SET pg_jwks.leeway = {leeway}"));
        let outcome = client.query_one(read, &[]).map_err(|error| pg_error(&error));
        match outcome {
            Ok(row) => assert!(good && row.get::<_, String>(0) == "alice", "{leeway}"),
            Err(error) => {
                assert!(!good, "{leeway}");
                assert_expired(&error, "beyond the leeway");
            }
        }
    }
    // Not even a superuser's leeway goes beyond five minutes.
    assert_eq!(refused(&mut client, "SET pg_jwks.leeway = '301s'").sqlstate, "22023");
}

/// In the middle of a second, too.
#[test]
fn a_fractional_expiry_is_exact() {
    let mut client = strict();
    let end = now() as f64 + 1.5;
    try_init(&mut client, &token_with(json!({ "exp": end }))).expect("a good token");
    let expires: f64 = value(&mut client, "SELECT extract(epoch FROM auth.expires_at())::float8");
    assert!((expires - end).abs() < 0.001, "{expires} is not {end}");
    loop {
        let row = client.query_one("SELECT auth.user_id(), extract(epoch FROM statement_timestamp())::float8", &[]);
        match row {
            Ok(row) => assert!(row.get::<_, f64>(1) < end, "a statement began after the end"),
            Err(error) => break assert_expired(&pg_error(&error), "after the end"),
        }
    }
    let past: f64 = value(&mut client, "SELECT extract(epoch FROM statement_timestamp())::float8");
    assert!(past >= end, "it ended {} s early", end - past);
}

/// Statements of one message, and statements within one, are statements of their own: the clock counts.
#[test]
fn an_identity_expires_within_one_message() {
    let mut client = strict();
    let wait = "SELECT pg_sleep(2.1)";
    for statements in [
        format!("{wait}; SELECT auth.user_id()"),
        format!("{wait}; COMMIT; BEGIN; SELECT count(*) FROM note"),
        format!("BEGIN; {wait}; COMMIT; BEGIN; UPDATE note SET body = body; COMMIT"),
        "DO $$ BEGIN PERFORM pg_sleep(2.1); EXECUTE 'UPDATE note SET body = body'; END $$".to_owned(),
        "DO $$ BEGIN FOR n IN 1..30 LOOP PERFORM pg_sleep(0.1); EXECUTE 'SELECT count(*) FROM note'; END LOOP; END $$"
            .to_owned(),
    ] {
        short_lived(&mut client);
        assert_expired(&refused(&mut client, &statements), &statements);
        run(&mut client, "ROLLBACK");
    }
}

/// A portal goes on with each Execute message.
#[test]
fn an_identity_expires_within_a_portal() {
    let mut client = strict();
    let end = short_lived(&mut client);
    let mut transaction = client.transaction().expect("BEGIN");
    let portal = transaction.bind("SELECT owner FROM big", &[]).expect("a portal");
    assert_eq!(transaction.query_portal(&portal, 5).expect("rows").len(), 5);
    wait_until(end);
    let error = transaction.query_portal(&portal, 5).map(|rows| rows.len()).expect_err("a portal that goes on");
    assert_expired(&pg_error(&error), "a portal");
}
