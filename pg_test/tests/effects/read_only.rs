//! `pg_jwks.read_only_claim`: a claim that takes the right to write.

use pg_test::raw::{Credentials, RawClient};
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

/// PostgreSQL asks whether a statement may write when it begins, so a later restriction would not bind it.
#[test]
fn a_statement_that_may_write_takes_no_read_only_identity() {
    let mut client = client("read_only_within");
    let read_only = token(json!({ "app": { "read_only": true } }));
    run(
        &mut client,
        "CREATE TABLE target (x int); INSERT INTO target VALUES (1);
         CREATE FUNCTION log_in(token text) RETURNS int LANGUAGE plpgsql AS
         $$ BEGIN PERFORM auth.jwt_session_init(token); PERFORM auth.jwt_session_clear(); RETURN 1; END $$;
         CREATE FUNCTION caught(token text) RETURNS int LANGUAGE plpgsql AS
         $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN log_in(token); END $$;
         CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM auth.jwt_session_init(TG_ARGV[0]); RETURN NEW; END $$;",
    );
    run(
        &mut client,
        &format!(
            "CREATE TABLE triggered (x int);
             CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_insert('{read_only}')"
        ),
    );
    let init = format!("auth.jwt_session_init('{read_only}')");
    let local = format!("auth.jwt_session_init('{read_only}', true)");
    for statement in [
        format!("WITH i AS MATERIALIZED (SELECT {init}) INSERT INTO written SELECT 1 FROM i"),
        format!("WITH i AS MATERIALIZED (SELECT {local}) INSERT INTO written SELECT 1 FROM i"),
        format!("WITH i AS MATERIALIZED (SELECT {init}) UPDATE target SET x = 2 FROM i"),
        format!("WITH i AS MATERIALIZED (SELECT {init}) DELETE FROM target USING i"),
        format!("WITH i AS MATERIALIZED (SELECT {init}), w AS (INSERT INTO written VALUES (1)) SELECT * FROM i"),
        format!("INSERT INTO written SELECT log_in('{read_only}')"),
        format!("INSERT INTO written SELECT caught('{read_only}')"),
        format!(
            "MERGE INTO target USING (SELECT log_in('{read_only}') AS y) s ON x = y WHEN MATCHED THEN UPDATE SET x = 3"
        ),
        format!("SELECT {init} FROM target FOR UPDATE"),
        format!("CREATE TABLE made AS SELECT log_in('{read_only}')"),
        format!("SELECT log_in('{read_only}') INTO made"),
        format!("CREATE MATERIALIZED VIEW made AS SELECT log_in('{read_only}')"),
        format!("EXPLAIN ANALYZE INSERT INTO written SELECT log_in('{read_only}')"),
        format!("EXPLAIN ANALYZE CREATE TABLE made AS SELECT log_in('{read_only}')"),
        format!("DO $$ BEGIN EXECUTE 'INSERT INTO written SELECT log_in(''{read_only}'')'; END $$"),
        format!("ALTER TABLE target ALTER x TYPE int USING log_in('{read_only}')"),
        format!("PREPARE p AS INSERT INTO written SELECT log_in('{read_only}'); EXECUTE p"),
        "INSERT INTO triggered VALUES (1)".to_owned(),
    ] {
        if statement.starts_with("MERGE") && server().major_version() < 15 {
            continue;
        }
        for around in ["", "BEGIN; SAVEPOINT s; "] {
            let error = refused(&mut client, &format!("{around}{statement}"));
            let what = format!("{}: {error:?}", statement.replace(&read_only, "TOKEN"));
            assert_eq!(error.sqlstate, "55000", "{what}");
            assert!(error.hint.is_some_and(|hint| hint.contains("a statement of its own")), "{what}");
            if !around.is_empty() {
                // What the error ended is forgotten, and a statement of its own is welcome.
                run(&mut client, "ROLLBACK TO s");
                client.batch_execute(&format!("SELECT {local}")).expect("a statement of its own");
                assert!(!inserts(&mut client), "{what}");
            }
            run(&mut client, "ROLLBACK; DEALLOCATE ALL");
            assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM written"), 0, "{what}");
        }
    }
}

#[test]
fn a_statement_that_reads_takes_a_read_only_identity_and_writes_nothing_from_then_on() {
    let mut client = client("read_only_reading");
    let read_only = token(json!({ "app": { "read_only": true } }));
    run(
        &mut client,
        "CREATE SEQUENCE numbers;
         CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO written VALUES (1); RETURN 1; END $$;",
    );
    let init = format!("auth.jwt_session_init('{read_only}')");
    for statement in [
        format!("SELECT {init}, setval('numbers', 9)"),
        format!("SELECT {init}, auth.jwt_session_clear(), setval('numbers', 9)"),
        format!("SELECT {init}, writes()"),
        format!("SELECT {init}, auth.jwt_session_clear(), writes()"),
        format!("BEGIN; DECLARE c CURSOR FOR SELECT {init}, writes(); FETCH c"),
        format!("EXPLAIN ANALYZE SELECT {init}, writes()"),
    ] {
        assert_eq!(refused(&mut client, &statement).sqlstate, "25006", "{}", statement.replace(&read_only, "TOKEN"));
        run(&mut client, "ROLLBACK; SELECT auth.jwt_session_clear()");
    }
    for statement in [
        format!("SELECT {init}"),
        format!("DO $$ BEGIN PERFORM {init}; END $$"),
        format!("EXPLAIN ANALYZE SELECT {init}"),
    ] {
        run(&mut client, &statement);
        assert!(!inserts(&mut client), "{}", statement.replace(&read_only, "TOKEN"));
        run(&mut client, "SELECT auth.jwt_session_clear()");
    }
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM written"), 0);
}

#[test]
fn what_is_copied_takes_no_read_only_identity_if_it_may_write() {
    let database = database("read_only_copy", &[("read_only_claim", "ro")]);
    let mut client =
        RawClient::connect(server(), "app", &database, Credentials::None).unwrap_or_else(|_| panic!("refused"));
    let init = format!("auth.jwt_session_init('{}')", token(json!({ "ro": true })));
    client
        .query(
            "CREATE TABLE written (x text);
             CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO written VALUES (1); RETURN 1; END $$;",
        )
        .expect("a table");
    let written = format!("COPY (INSERT INTO written VALUES (1) RETURNING {init}) TO STDOUT");
    assert_eq!(client.query(&written).expect_err("may write").sqlstate, "55000");
    let reads = format!("COPY (SELECT {init}, writes()) TO STDOUT");
    assert_eq!(client.query(&reads).expect_err("writes").sqlstate, "25006");
    client.query(&format!("COPY (SELECT {init}) TO STDOUT")).expect("a statement that reads");
    assert_eq!(client.query("INSERT INTO written VALUES (2)").expect_err("read-only").sqlstate, "25006");
    assert_eq!(client.value("SELECT count(*) FROM written").as_deref(), Some("0"));
}
