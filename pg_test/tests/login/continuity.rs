//! The login is what the session returns to, and nothing else is.

use crate::server::*;
use pg_test::offline::FORGER;
use pg_test::{Credentials, RawClient, now, parallel};
use serde_json::json;

at_each_door!(
    an_init_on_top_ends_at_the_login,
    a_local_init_ends_with_the_transaction,
    a_failed_init_leaves_nobody_until_the_session_returns_to_the_login,
    a_failed_init_in_a_transaction_leaves_nobody,
    a_return_that_is_rolled_back_leaves_nobody,
    a_return_that_fails_leaves_nobody,
    each_failure_revokes_the_login,
    what_follows_a_return_is_rolled_back_with_it,
    an_exception_block_around_a_failed_init_keeps_nobody,
    parallel_workers_have_the_login_or_what_is_on_top_or_nobody,
    a_pooler_can_log_in_with_a_token_of_its_own,
    nobody_sets_the_identity_himself,
    a_session_without_a_login_returns_to_nobody,
    errors_of_utility_statements_keep_their_own_sqlstates,
);

fn init(sub: &str, is_local: bool) -> String {
    format!("SELECT auth.jwt_session_init('{}', {is_local})", token_with(json!({ "sub": sub })))
}

/// An init that fails.
fn forged() -> String {
    format!("SELECT auth.jwt_session_init('{}')", FORGER.sign(&good()))
}

#[track_caller]
fn assert_identity(client: &mut RawClient, expected: Option<&str>, after: &str) {
    assert_eq!(identity(client).as_deref(), expected, "{after}");
    let count = if expected.is_some_and(|sub| ["alice", "bob", "carol"].contains(&sub)) { "10000" } else { "0" };
    assert_eq!(client.value("SELECT count(*) FROM big").as_deref(), Some(count), "{after}");
}

/// What returns to the login.
const RETURNS: [&str; 7] = [
    "SELECT auth.jwt_session_clear()",
    "RESET pg_jwks.session",
    "RESET ALL",
    "DISCARD ALL",
    "SET pg_jwks.session TO DEFAULT",
    "RESET PG_JWKS.Session",
    "DO $$ BEGIN EXECUTE 'RESET ALL'; END $$",
];

fn an_init_on_top_ends_at_the_login(door: Door) {
    let mut client = door.alice();
    for end in RETURNS {
        run(&mut client, &init("bob", false));
        assert_identity(&mut client, Some("bob"), "init");
        run(&mut client, end);
        assert_identity(&mut client, Some("alice"), end);
        run(&mut client, end);
        assert_identity(&mut client, Some("alice"), "again");
    }
    // It is the login that connected, whoever the session is now.
    run(&mut client, &init("bob", false));
    door.assert_system_user(&mut client, "alice", "alice");
}

fn a_local_init_ends_with_the_transaction(door: Door) {
    let mut client = door.alice();
    for end in ["COMMIT", "ROLLBACK"] {
        run(&mut client, &format!("BEGIN; {}", init("bob", true)));
        assert_identity(&mut client, Some("bob"), "local");
        run(&mut client, &format!("SAVEPOINT s; {}", init("carol", true)));
        assert_identity(&mut client, Some("carol"), "in a savepoint");
        run(&mut client, "ROLLBACK TO s");
        assert_identity(&mut client, Some("bob"), "after the savepoint");
        run(&mut client, end);
        assert_identity(&mut client, Some("alice"), end);
    }
    run(&mut client, &format!("BEGIN; {}; ROLLBACK", init("bob", false)));
    assert_identity(&mut client, Some("alice"), "a rollback");
    run(&mut client, &init("bob", false));
    run(&mut client, "BEGIN; RESET ALL; ROLLBACK");
    assert_identity(&mut client, Some("bob"), "a reset that was rolled back");
    run(&mut client, "BEGIN; SELECT auth.jwt_session_clear()");
    assert_identity(&mut client, Some("alice"), "clear");
    run(&mut client, "ROLLBACK");
    assert_identity(&mut client, Some("bob"), "a clear that was rolled back");
}

/// A pooler may ignore the error: the session is nobody, and not the login either, until somebody says so.
fn a_failed_init_leaves_nobody_until_the_session_returns_to_the_login(door: Door) {
    let mut client = door.alice();
    for end in RETURNS {
        for before in ["SELECT 1".to_owned(), init("bob", false)] {
            run(&mut client, &before);
            failed(&mut client, &forged());
            assert_identity(&mut client, None, "a failed init");
            run(&mut client, "BEGIN; SAVEPOINT s; ROLLBACK TO s; COMMIT");
            run(&mut client, "DISCARD PLANS; DISCARD TEMP; SET work_mem TO DEFAULT; RESET work_mem");
            run(&mut client, "BEGIN; SET LOCAL pg_jwks.session TO DEFAULT");
            assert_identity(&mut client, None, "a local default");
            run(&mut client, "COMMIT");
            assert_identity(&mut client, None, "other statements");
            run(&mut client, end);
            assert_identity(&mut client, Some("alice"), end);
        }
    }
    // An identity on top of nobody works as ever, and what is beneath stays nobody.
    failed(&mut client, &forged());
    run(&mut client, &format!("BEGIN; {}", init("bob", true)));
    assert_identity(&mut client, Some("bob"), "local after a failure");
    run(&mut client, "COMMIT");
    assert_identity(&mut client, None, "after that");
    run(&mut client, &init("bob", false));
    assert_identity(&mut client, Some("bob"), "for the session after a failure");
    run(&mut client, "RESET ALL");
    assert_identity(&mut client, Some("alice"), "at last");
}

fn a_failed_init_in_a_transaction_leaves_nobody(door: Door) {
    let mut client = door.alice();
    for (before, after) in [
        ("BEGIN".to_owned(), "ROLLBACK"),
        ("BEGIN".to_owned(), "COMMIT"),
        ("BEGIN; SAVEPOINT s".to_owned(), "ROLLBACK TO s; COMMIT"),
        (format!("BEGIN; {}", init("bob", true)), "ROLLBACK"),
        (format!("BEGIN; {}; SAVEPOINT s", init("bob", true)), "ROLLBACK TO s; COMMIT"),
        (format!("{}; BEGIN; {}", init("carol", false), init("bob", true)), "ROLLBACK"),
    ] {
        run(&mut client, "DISCARD ALL");
        assert_identity(&mut client, Some("alice"), "the start");
        run(&mut client, &before);
        failed(&mut client, &forged());
        run(&mut client, after);
        assert_identity(&mut client, None, &before);
    }
}

/// A rollback restores what was after the failure: nobody.
fn a_return_that_is_rolled_back_leaves_nobody(door: Door) {
    let mut client = door.alice();
    for before in ["SELECT 1".to_owned(), init("bob", false)] {
        for end in RETURNS.into_iter().filter(|end| *end != "DISCARD ALL") {
            run(&mut client, "DISCARD ALL");
            run(&mut client, &before);
            failed(&mut client, &forged());
            run(&mut client, &format!("BEGIN; {end}"));
            assert_identity(&mut client, Some("alice"), end);
            run(&mut client, "ROLLBACK");
            assert_identity(&mut client, None, &format!("{end}, rolled back"));
            run(&mut client, &format!("BEGIN; SAVEPOINT s; {end}"));
            assert_identity(&mut client, Some("alice"), end);
            run(&mut client, "ROLLBACK TO s");
            assert_identity(&mut client, None, &format!("{end}, rolled back to a savepoint"));
            run(&mut client, &format!("SAVEPOINT t; SAVEPOINT u; {end}; RELEASE u; ROLLBACK TO t; COMMIT"));
            assert_identity(&mut client, None, &format!("{end}, in a released savepoint"));
            run(&mut client, &format!("BEGIN; SAVEPOINT s; {end}; RELEASE s"));
            failed(&mut client, "SELECT 1/0");
            run(&mut client, "ROLLBACK");
            assert_identity(&mut client, None, &format!("{end}, after an error"));
            run(&mut client, &format!("BEGIN; SAVEPOINT s; {end}; RELEASE s; COMMIT"));
            assert_identity(&mut client, Some("alice"), &format!("{end}, committed"));
        }
    }
}

/// One that fails: DISCARD ALL is not for transactions.
fn a_return_that_fails_leaves_nobody(door: Door) {
    let mut client = door.alice();
    failed(&mut client, &forged());
    run(&mut client, "BEGIN");
    failed(&mut client, "DISCARD ALL");
    run(&mut client, "ROLLBACK");
    assert_identity(&mut client, None, "a failed DISCARD ALL");
    run(&mut client, "DISCARD ALL");
    assert_identity(&mut client, Some("alice"), "DISCARD ALL");
}

/// Failing after the return, in the same transaction, revokes the login again.
fn each_failure_revokes_the_login(door: Door) {
    let mut client = door.alice();
    for _ in 0..3 {
        failed(&mut client, &forged());
        assert_identity(&mut client, None, "a failed init");
        run(&mut client, "BEGIN; RESET ALL; SAVEPOINT s");
        failed(&mut client, &forged());
        run(&mut client, "ROLLBACK TO s");
        assert_identity(&mut client, None, "a second one");
        run(&mut client, "SAVEPOINT t; RESET pg_jwks.session; RELEASE t");
        assert_identity(&mut client, Some("alice"), "the return");
        run(&mut client, "COMMIT");
        assert_identity(&mut client, Some("alice"), "the commit");
    }
}

/// An init after the return, and a rollback of both.
fn what_follows_a_return_is_rolled_back_with_it(door: Door) {
    let mut client = door.alice();
    run(&mut client, &init("bob", false));
    failed(&mut client, &forged());
    run(&mut client, &init("carol", false));
    run(&mut client, &format!("BEGIN; RESET ALL; {}", init("bob", false)));
    assert_identity(&mut client, Some("bob"), "an init after the return");
    run(&mut client, "ROLLBACK");
    assert_identity(&mut client, Some("carol"), "the rollback");
    run(&mut client, "RESET ALL");
    assert_identity(&mut client, Some("alice"), "the login");
}

fn an_exception_block_around_a_failed_init_keeps_nobody(door: Door) {
    let mut client = door.alice();
    let forged = forged().replace("SELECT", "PERFORM");
    run(&mut client, &format!("DO $$ BEGIN BEGIN {forged}; EXCEPTION WHEN OTHERS THEN NULL; END; END $$"));
    assert_identity(&mut client, None, "the block");
    run(&mut client, "DISCARD ALL");
    assert_identity(&mut client, Some("alice"), "DISCARD ALL");
}

/// How many rows of `big` parallel workers find to be the user's.
#[track_caller]
fn rows_for_workers(client: &mut RawClient) -> i64 {
    let plan = client.value(&parallel::explain_scan("big")).expect("a plan");
    parallel::rows_found(&serde_json::from_str(&plan).expect("JSON"))
}

fn parallel_workers_have_the_login_or_what_is_on_top_or_nobody(door: Door) {
    let mut client = door.alice();
    run(&mut client, parallel::PARALLEL);
    run(&mut client, parallel::force(door.server()));
    assert_eq!(rows_for_workers(&mut client), 10_000);
    assert_eq!(client.value("SELECT DISTINCT auth.user_id() FROM big").as_deref(), Some("alice"));
    run(&mut client, &format!("BEGIN; {}", init("bob", true)));
    assert_eq!(client.value("SELECT DISTINCT auth.user_id() FROM big").as_deref(), Some("bob"));
    run(&mut client, "COMMIT");
    assert_eq!(client.value("SELECT DISTINCT auth.user_id() FROM big").as_deref(), Some("alice"));
    failed(&mut client, &forged());
    assert_eq!(rows_for_workers(&mut client), 0);
    run(&mut client, "BEGIN; RESET pg_jwks.session");
    assert_eq!(rows_for_workers(&mut client), 10_000);
    run(&mut client, "ROLLBACK");
    assert_eq!(rows_for_workers(&mut client), 0);
    run(&mut client, "RESET pg_jwks.session");
    assert_eq!(rows_for_workers(&mut client), 10_000);
    if door == Door::OAuth {
        assert_eq!(client.value("SELECT DISTINCT system_user FROM big").as_deref(), Some("oauth:alice"));
    }
}

/// The transactions of two clients of a pooler alternate on a connection that logged in with a token of its own.
fn a_pooler_can_log_in_with_a_token_of_its_own(door: Door) {
    let mut connection = door.alice();
    for round in 0..20 {
        let sub = ["bob", "carol"][round % 2];
        run(&mut connection, &format!("BEGIN; {}", init(sub, true)));
        assert_identity(&mut connection, Some(sub), "a client");
        if round % 5 == 4 {
            failed(&mut connection, "SELECT 1/0");
        }
        run(&mut connection, if round % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
        assert_identity(&mut connection, Some("alice"), "the pooler");
    }
}

/// Nobody can make a session return to another login.
fn nobody_sets_the_identity_himself(door: Door) {
    let mut client = door.alice();
    let evil = json!({ "sub": "bob", "exp": now() + 100 });
    for statement in [
        format!("SET pg_jwks.session = '{evil}'"),
        format!("SET LOCAL pg_jwks.session = '{evil}'"),
        format!("SELECT set_config('pg_jwks.session', '{evil}', false)"),
        format!("ALTER ROLE alice SET pg_jwks.session = '{evil}'"),
    ] {
        assert_eq!(failed(&mut client, &statement).sqlstate, "42501", "{statement}");
        assert_identity(&mut client, Some("alice"), &statement);
    }
    run(&mut client, "SET pg_jwks.session = ''");
    assert_identity(&mut client, None, "an empty one");
    run(&mut client, "DISCARD ALL");
    assert_identity(&mut client, Some("alice"), "DISCARD ALL");
}

/// Sessions that did not log in with a token are as they were.
fn a_session_without_a_login_returns_to_nobody(door: Door) {
    door.server().client().batch_execute("CREATE DATABASE trusted").expect("CREATE DATABASE");
    let mut client =
        RawClient::connect(door.server(), "alice", "trusted", Credentials::None).expect("a trusted session");
    run(&mut client, "SELECT auth.init()");
    assert_identity(&mut client, None, "the start");
    run(&mut client, &init("bob", false));
    assert_identity(&mut client, Some("bob"), "init");
    failed(&mut client, &forged());
    for end in RETURNS {
        run(&mut client, end);
        assert_identity(&mut client, None, end);
    }
}

fn errors_of_utility_statements_keep_their_own_sqlstates(door: Door) {
    let mut client = door.alice();
    let error = failed(&mut client, "DO $$ BEGIN RAISE 'own' USING ERRCODE = 'PT403'; END $$");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("PT403", "own"));
    let caught = "DO $$ BEGIN
                      EXECUTE 'DO $i$ BEGIN RAISE USING ERRCODE = ''PT403''; END $i$';
                  EXCEPTION WHEN SQLSTATE 'PT403' THEN NULL; END $$";
    run(&mut client, caught);
}
