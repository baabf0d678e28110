//! `pg_jwks.trust_request_claims`: behind PostgREST, which verifies tokens itself.

use pg_test::parallel;
use postgres::Client;
use serde_json::json;

use crate::server::*;

/// A server without session variables of its own, as PostgREST sets `request.jwt.claims`.
fn plain() -> pg_test::Cluster {
    let cluster = options().start();
    create_roles(&cluster);
    run(&mut cluster.client(), "CREATE DATABASE trusting");
    cluster.create_database("latin", "LATIN1");
    for database in ["trusting", "latin"] {
        run(&mut cluster.client(), &format!("ALTER DATABASE {database} SET pg_jwks.trust_request_claims = on"));
    }
    run(&mut cluster.connect("postgres", "latin"), "CREATE EXTENSION pg_jwks");
    cluster
}

fn request(client: &mut Client, claims: &str) {
    client.execute("SELECT set_config('request.jwt.claims', $1, false)", &[&claims]).expect("set_config");
}

#[track_caller]
fn user(client: &mut Client) -> Option<String> {
    let row = client.query_one("SELECT auth.user_id(), auth.jwt() ->> 'sub', auth.claim('sub')", &[]).expect("readers");
    let all: [Option<String>; 3] = [row.get(0), row.get(1), row.get(2)];
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    all[0].clone()
}

#[test]
fn request_claims_count_where_they_are_trusted_and_nobody_is_verified() {
    let cluster = plain();
    let mut client = cluster.connect("app", "template1");
    request(&mut client, r#"{"sub":"alice"}"#);
    assert_eq!(user(&mut client), None, "not trusted");

    let mut client = cluster.connect("app", "trusting");
    assert_eq!(user(&mut client), None, "not set");
    for _ in 0..2 {
        for sub in ["alice", "bob"] {
            request(&mut client, &json!({ "sub": sub, "role": "web" }).to_string());
            assert_eq!(user(&mut client).as_deref(), Some(sub));
            assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.role()").as_deref(), Some("web"));
        }
    }
    init(&mut client, &token(json!({ "sub": "carol" })));
    assert_eq!(user(&mut client).as_deref(), Some("carol"), "a verified identity comes first");
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(user(&mut client).as_deref(), Some("bob"));
    for nonsense in ["", "{", "[]", "\"alice\"", "{\"sub\":\"x\",\"exp\":\"soon\"}"] {
        request(&mut client, nonsense);
        assert_eq!(user(&mut client), None, "{nonsense}");
    }
    request(&mut client, &json!({ "sub": "alice", "exp": 1 }).to_string());
    assert_eq!(refused(&mut client, "SELECT auth.user_id()").sqlstate, "28000");

    let mut client = cluster.connect("app", "latin");
    request(&mut client, &json!({ "sub": "Zo\u{eb}" }).to_string());
    assert_eq!(user(&mut client).as_deref(), Some("Zo\u{eb}"));
}

/// The default leeway of 30 s is part of it.
#[test]
fn request_claims_expire_within_one_message() {
    let cluster = plain();
    let mut client = cluster.connect("app", "trusting");
    for statements in [
        "SELECT pg_sleep(2.1); SELECT auth.user_id()",
        "DO $$ BEGIN PERFORM pg_sleep(2.1); PERFORM auth.user_id(); END $$",
        "DO $$ BEGIN FOR n IN 1..30 LOOP PERFORM pg_sleep(0.1); EXECUTE 'SELECT auth.user_id()'; END LOOP; END $$",
    ] {
        request(&mut client, &json!({ "sub": "alice", "exp": pg_test::now() - 28 }).to_string());
        assert_eq!(user(&mut client).as_deref(), Some("alice"), "{statements}");
        let error = refused(&mut client, statements);
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT has expired"), "{statements}");
    }
}

#[test]
fn parallel_workers_see_request_claims() {
    let cluster = plain();
    let mut client = cluster.connect("app", "trusting");
    request(&mut client, r#"{"sub":"alice"}"#);
    run(&mut client, parallel::force(&cluster));
    assert_eq!(user(&mut client).as_deref(), Some("alice"));
}

#[test]
fn tenants_are_those_of_request_claims() {
    let cluster = plain();
    run(&mut cluster.client(), "ALTER DATABASE trusting SET pg_jwks.tenant_claim = 'org'");
    let mut client = cluster.connect("app", "trusting");
    for tenant in ["a", "b"] {
        request(&mut client, &json!({ "iss": ISSUER, "sub": "alice", "org": tenant }).to_string());
        assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.tenant_id()").as_deref(), Some(tenant));
    }
    request(&mut client, &json!({ "iss": "another", "sub": "alice", "org": "a" }).to_string());
    assert_eq!(refused(&mut client, "SELECT auth.tenant_id()").sqlstate, "55000");
}

/// A refused token leaves nobody, not whom `request.jwt.claims` names.
#[test]
fn after_a_refused_token_request_claims_are_not_believed() {
    let cluster = plain();
    let mut client = cluster.connect("app", "trusting");
    request(&mut client, r#"{"sub":"bob"}"#);
    let lifts = |client: &mut Client| init(client, &token(json!({ "sub": "carol" })));
    for is_local in [false, true] {
        run(&mut client, "BEGIN; SAVEPOINT s");
        try_init(&mut client, "bad", is_local).expect_err("a bad token");
        run(&mut client, "ROLLBACK TO s");
        assert_eq!(user(&mut client), None, "in the transaction");
        run(&mut client, parallel::force(&cluster));
        assert_eq!(user(&mut client), None, "in parallel workers");
        run(&mut client, "COMMIT");
        run(&mut client, "SET max_parallel_workers_per_gather = 0");
        assert_eq!(user(&mut client).as_deref(), if is_local { Some("bob") } else { None }, "after it");
        lifts(&mut client);
        assert_eq!(user(&mut client).as_deref(), Some("carol"));
        run(&mut client, "SELECT auth.jwt_session_clear()");
        assert_eq!(user(&mut client).as_deref(), Some("bob"));
    }
    for lift in ["SELECT auth.jwt_session_clear()", "RESET pg_jwks.session", "DISCARD ALL"] {
        for bad in ["bad", &token(json!({ "exp": 1 })), ""] {
            try_init(&mut client, bad, false).expect_err("a bad token");
            assert_eq!(user(&mut client), None, "{lift}");
            run(&mut client, "SELECT 1");
            assert_eq!(user(&mut client), None, "{lift}");
        }
        run(&mut client, lift);
        request(&mut client, r#"{"sub":"bob"}"#);
        assert_eq!(user(&mut client).as_deref(), Some("bob"), "{lift}");
    }
}

#[test]
fn a_subject_that_is_no_string_is_nobody() {
    let cluster = plain();
    let mut client = cluster.connect("app", "trusting");
    for sub in [json!(42), json!(null), json!(["alice"]), json!({ "a": 1 }), json!(true)] {
        request(&mut client, &json!({ "sub": sub, "role": "web" }).to_string());
        assert_eq!(user(&mut client), None, "{sub}");
        assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.role()"), None, "{sub}");
    }
}
