//! `pg_jwks.read_only_claim`: a claim that takes the right to write.

use postgres::Client;
use serde_json::json;

use crate::server::*;

fn client(name: &str) -> Client {
    let database = database(name, &[("read_only_claim", "app.read_only")]);
    let mut client = app(&database);
    run(&mut client, "CREATE TABLE written (x int)");
    client
}

fn inserts(client: &mut Client) -> bool {
    match client.batch_execute("INSERT INTO written VALUES (1)") {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(pg_test::pg_error(&error).sqlstate, "25006");
            false
        }
    }
}

#[test]
fn a_session_is_read_only_until_another_identity() {
    let mut client = client("read_only");
    assert!(inserts(&mut client));
    init(&mut client, &token(json!({ "app": { "read_only": true } })));
    assert!(!inserts(&mut client));
    assert!(try_init(&mut client, "bad", false).is_err());
    init(&mut client, &token(json!({ "app": { "read_only": false } })));
    assert!(inserts(&mut client));
    init(&mut client, &token(json!({ "app": { "read_only": "true" } })));
    assert!(!inserts(&mut client));
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert!(inserts(&mut client));
    init(&mut client, &token(json!({ "app": { "read_only": 1 } })));
    assert!(!inserts(&mut client), "what is no boolean still restricts");
    run(&mut client, "DISCARD ALL");
    assert!(inserts(&mut client));
    init(&mut client, &token(json!({})));
    assert!(inserts(&mut client));
}

#[test]
fn a_transaction_is_read_only_and_cannot_be_made_writable() {
    let mut client = client("read_only_local");
    run(&mut client, "BEGIN");
    try_init(&mut client, &token(json!({ "app": { "read_only": true } })), true).expect("a good token");
    for way in ["SET transaction_read_only = off", "SET TRANSACTION READ WRITE"] {
        run(&mut client, "SAVEPOINT s");
        assert_eq!(refused(&mut client, way).sqlstate, "25001", "{way}");
        run(&mut client, "ROLLBACK TO s");
    }
    assert!(!inserts(&mut client));
    run(&mut client, "ROLLBACK");
    assert!(inserts(&mut client), "the next transaction");
}

/// PostgreSQL itself would lift the mode in these ways, some in some versions.
#[test]
fn no_way_of_sql_lifts_the_restriction() {
    let mut client = client("read_only_ways");
    let read_only = token(json!({ "app": { "read_only": true } }));
    for way in [
        "SELECT 1",
        "RELEASE s",
        "RELEASE s; SAVEPOINT s",
        "SET default_transaction_read_only = off",
        "DO $$ BEGIN NULL; EXCEPTION WHEN OTHERS THEN NULL; END $$",
    ] {
        run(&mut client, "BEGIN; SAVEPOINT s");
        try_init(&mut client, &read_only, true).expect("a good token");
        run(&mut client, way);
        assert!(!inserts(&mut client), "{way}");
        run(&mut client, "ROLLBACK");
    }
    for reset in [
        "RESET transaction_read_only",
        "SET transaction_read_only TO DEFAULT",
        "SELECT set_config('transaction_read_only', NULL, true)",
    ] {
        run(&mut client, "BEGIN; SAVEPOINT s");
        try_init(&mut client, &read_only, true).expect("a good token");
        // Later versions refuse it.
        if client.batch_execute(reset).is_err() {
            run(&mut client, "ROLLBACK TO s");
            try_init(&mut client, &read_only, true).expect("a good token");
        }
        assert!(!inserts(&mut client), "{reset}");
        run(&mut client, "ROLLBACK");
    }
    init(&mut client, &read_only);
    run(&mut client, "SET default_transaction_read_only = off; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE");
    assert!(!inserts(&mut client), "a session");
    run(&mut client, "BEGIN READ WRITE");
    assert!(!inserts(&mut client), "BEGIN READ WRITE");
    run(&mut client, "ROLLBACK");
    for statement in ["COPY written FROM STDIN", "CREATE TABLE more (x int)", "TRUNCATE written"] {
        assert_eq!(refused(&mut client, statement).sqlstate, "25006", "{statement}");
    }
}

#[test]
fn a_block_that_catches_errors_keeps_the_restriction() {
    let mut client = client("read_only_caught");
    let read_only = token(json!({ "app": { "read_only": true } }));
    run(
        &mut client,
        "CREATE FUNCTION wrapped(token text) RETURNS void LANGUAGE plpgsql AS
         $$ BEGIN PERFORM auth.jwt_session_init(token, true); EXCEPTION WHEN OTHERS THEN RAISE; END $$",
    );
    run(&mut client, "BEGIN");
    client.execute("SELECT wrapped($1)", &[&read_only]).expect("a good token");
    assert!(!inserts(&mut client));
    run(&mut client, "ROLLBACK");
}

#[test]
fn a_rolled_back_identity_leaves_no_restriction_and_lifts_none() {
    let mut client = client("read_only_back");
    let (restricted, free) = (token(json!({ "app": { "read_only": true } })), token(json!({})));
    init(&mut client, &restricted);
    run(&mut client, "BEGIN");
    init(&mut client, &free);
    run(&mut client, "ROLLBACK");
    assert!(!inserts(&mut client), "the restricted identity is back");
    init(&mut client, &free);
    assert!(inserts(&mut client), "and gone");
    run(&mut client, "SET default_transaction_read_only = on");
    init(&mut client, &free);
    assert!(!inserts(&mut client), "the application's own setting stays");
}

#[test]
fn the_transaction_that_makes_the_session_read_only_is_read_only_itself() {
    let mut client = client("read_only_now");
    run(&mut client, "BEGIN");
    init(&mut client, &token(json!({ "app": { "read_only": true } })));
    assert!(!inserts(&mut client));
    run(&mut client, "ROLLBACK");
    assert!(inserts(&mut client), "the identity is gone, and so is its restriction");
}
