//! Functions that a client calls by their OID, past the executor (the protocol's FunctionCall).

use pg_test::raw::{Credentials, RawClient};
use serde_json::json;

use crate::server::*;

fn client(database: &str, claims: serde_json::Value) -> RawClient {
    let mut client =
        RawClient::connect(server(), "app", database, Credentials::None).unwrap_or_else(|_| panic!("refused"));
    let init = format!("SELECT auth.jwt_session_init('{}')", token(claims));
    client.query(&init).expect("a good token");
    client
}

#[track_caller]
fn function(client: &mut RawClient, name: &str) -> u32 {
    let oid = client.value(&format!("SELECT '{name}'::regprocedure::oid")).expect("an OID");
    oid.parse().expect("a number")
}

#[test]
fn a_read_only_identity_calls_no_function_that_writes() {
    let database = database("calls_read_only", &[("read_only_claim", "ro")]);
    let mut free = client(&database, json!({}));
    let create = function(&mut free, "lo_create(oid)");
    free.call(create, &["4711"]).expect("an identity that may write");
    let mut restricted = client(&database, json!({ "ro": true }));
    run(&mut app(&database), "CREATE SEQUENCE numbers");
    let next = function(&mut restricted, "nextval(regclass)");
    assert_eq!(restricted.call(next, &["numbers"]).expect_err("a write").sqlstate, "25006");
    let (create, unlink) = (function(&mut restricted, "lo_create(oid)"), function(&mut restricted, "lo_unlink(oid)"));
    for (function, object) in [(create, "4712"), (unlink, "4711")] {
        assert_eq!(restricted.call(function, &[object]).expect_err("a write").sqlstate, "25006", "{object}");
    }
    let left = "SELECT string_agg(oid::text, ',') FROM pg_largeobject_metadata WHERE oid IN (4711, 4712)";
    assert_eq!(free.value(left).as_deref(), Some("4711"));
}

#[test]
fn the_role_of_an_expired_identity_calls_nothing() {
    let settings = [("set_role", "on"), ("role_claim", "roles"), ("leeway", "0")];
    let database = database("calls_role", &settings);
    run(
        &mut server().connect("postgres", &database),
        "CREATE FUNCTION secret(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         REVOKE ALL ON FUNCTION secret FROM PUBLIC; GRANT EXECUTE ON FUNCTION secret TO app_admin;",
    );
    let mut client = client(&database, json!({ "roles": "app_admin", "exp": pg_test::now() + 2 }));
    let secret = function(&mut client, "secret(int)");
    client.call(secret, &["1"]).expect("the role may");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for _ in 0..2 {
        let error = client.call(secret, &["1"]).expect_err("expired");
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT has expired"));
    }
    client.query("SELECT auth.jwt_session_clear()").expect("the end");
    assert_eq!(client.call(secret, &["1"]).expect_err("without the role").sqlstate, "42501");
}
