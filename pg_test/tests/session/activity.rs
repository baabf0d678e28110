//! No token stays in `pg_stat_activity` once a function has taken it, while the session is idle or goes on.

use pg_test::backend::pid;
use postgres::Client;
use serde_json::json;

use crate::server::*;

/// What others see of the session, and whether its statement is still known by its identifier.
fn shown(client: &mut Client, work: impl FnOnce(&mut Client)) -> (String, bool) {
    let pid = pid(client);
    work(client);
    let query = "SELECT query, query_id IS NOT NULL FROM pg_stat_activity WHERE pid = $1";
    let row = superuser().query_one(query, &[&pid]).expect("the session");
    (row.get(0), row.get(1))
}

#[track_caller]
fn assert_hidden(query: &str, token: &str) {
    assert!(query.contains("<JWT>"), "{query}");
    for part in token.split('.') {
        assert!(!query.contains(&part[..16]), "{query}");
    }
}

#[test]
fn a_token_is_gone_from_the_statement_once_init_has_run() {
    let token = token("alice");
    for statement in [
        format!("SELECT auth.jwt_session_init('{token}')"),
        format!("SELECT 1; SELECT auth.jwt_session_init('{token}'); SELECT 2 /* {token} */"),
        format!("BEGIN; SELECT auth.jwt_session_init('{token}', true)"),
        format!("DO $$BEGIN PERFORM auth.jwt_session_init('{token}'); END$$"),
        format!("DO $$BEGIN EXECUTE 'SELECT auth.jwt_session_init($1)' USING '{token}'; END$$"),
        format!("SELECT count(*) FROM auth.jwt_explain('{token}')"),
        // It is shown as far as `track_activity_query_size` allows, without its end.
        format!("SELECT auth.jwt_session_init('{token}') /* {} {token} */", "x".repeat(900)),
    ] {
        let (query, _) = shown(&mut session(), |client| run(client, &statement));
        assert_hidden(&query, &token);
    }
}

#[test]
fn a_token_is_gone_from_the_statement_if_init_fails() {
    let expired = token_for_seconds("alice", -3600);
    for token in [expired, forged_token("alice"), token_with(json!({ "aud": "shop" }))] {
        for statement in [
            format!("SELECT auth.jwt_session_init('{token}')"),
            format!("BEGIN; SELECT auth.jwt_session_init('{token}')"),
            format!("DO $$BEGIN PERFORM auth.jwt_session_init('{token}'); END$$"),
        ] {
            let (query, _) = shown(&mut session(), |client| {
                client.batch_execute(&statement).expect_err("refused");
            });
            assert_hidden(&query, &token);
        }
    }
}

#[test]
fn a_token_is_gone_from_a_prepared_statement() {
    let token = token("alice");
    let (query, _) = shown(&mut session(), |client| {
        let statement = client.prepare(&format!("SELECT auth.jwt_session_init('{token}')")).expect("PREPARE");
        client.execute(&statement, &[]).expect("a good token");
        client.execute(&statement, &[]).expect("a good token");
    });
    assert_hidden(&query, &token);
}

#[test]
fn the_rest_of_the_statement_stays_and_is_still_known() {
    let token = token("alice");
    let mut client = superuser();
    run(&mut client, "SET compute_query_id = on");
    let (query, known) = shown(&mut client, |client| {
        run(client, &format!("SELECT auth.jwt_session_init('{token}'), 'the rest'"));
    });
    assert_eq!(query, "SELECT auth.jwt_session_init('<JWT>'), 'the rest'");
    assert!(known, "the statement has lost its identifier");
    let (query, _) = shown(&mut client, |client| {
        client.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect("a good token");
    });
    assert_eq!(query, "SELECT auth.jwt_session_init($1)");
}
