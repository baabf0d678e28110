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

#[test]
fn the_transaction_that_makes_the_session_read_only_is_read_only_itself() {
    let mut client = client("read_only_now");
    run(&mut client, "BEGIN");
    init(&mut client, &token(json!({ "app": { "read_only": true } })));
    assert!(!inserts(&mut client));
    run(&mut client, "ROLLBACK");
    assert!(inserts(&mut client), "the identity is gone, and so is its restriction");
}
