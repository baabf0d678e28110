//! `auth.assume_identity()`: an identity without a token, for jobs, support and tests.

use crate::server::*;
use pg_test::parallel::{PARALLEL, rows_for_workers};
use pg_test::wait::eventually;
use pg_test::{Cluster, PgError};
use postgres::Client;
use serde_json::{Value, json};

/// Assumes the identity of these claims.
fn assume(client: &mut Client, claims: &Value) -> Result<(), PgError> {
    let call = "SELECT auth.assume_identity($1)";
    client.execute(call, &[claims]).map(drop).map_err(|error| pg_test::pg_error(&error))
}

/// A database in which role `worker` may assume identities, and sees what `app` may see.
fn database(name: &'static str) -> Database {
    let database = Database::new(name);
    run(&mut database.superuser(), "GRANT EXECUTE ON FUNCTION auth.assume_identity TO app");
    database
}

fn alice_claims() -> Value {
    json!({ "sub": "alice", "tenant_id": "red" })
}

#[test]
fn whoever_may_assume_an_identity_sees_what_its_user_sees() {
    let database = database("assumed");
    let mut session = database.app();
    assert_eq!(notes(&mut session), [0; 0]);
    for (sub, expected) in [("alice", &[1, 3][..]), ("bob", &[2]), ("nobody", &[])] {
        assume(&mut session, &json!({ "sub": sub })).expect("the privilege");
        assert_eq!(notes(&mut session), expected, "{sub}");
        let row = session.query_one("SELECT auth.user_id(), auth.actor(), auth.claim('iss')", &[]).expect("readers");
        let read: Vec<Option<String>> = (0..3).map(|column| row.get(column)).collect();
        assert_eq!(read, [Some(sub.into()), Some("app".into()), Some(ISSUER.into())]);
    }
    let left: f64 = value(&mut session, "SELECT extract(epoch FROM auth.expires_at() - now())::float8");
    assert!((3590.0..=3600.0).contains(&left), "{left}");
    run(&mut session, "SELECT auth.jwt_session_clear()");
    assert_eq!(notes(&mut session), [0; 0]);
}

#[test]
fn it_can_be_for_the_transaction() {
    let database = database("assumed_locally");
    let mut session = database.app();
    for end in ["COMMIT", "ROLLBACK"] {
        run(&mut session, "BEGIN; SELECT auth.assume_identity('{\"sub\": \"alice\"}', true)");
        assert_eq!(notes(&mut session), [1, 3]);
        run(&mut session, end);
        assert_eq!(notes(&mut session), [0; 0], "after {end}");
    }
    run(&mut session, "BEGIN; SAVEPOINT s; SELECT auth.assume_identity('{\"sub\": \"alice\"}'); ROLLBACK TO s");
    assert_eq!(notes(&mut session), [0; 0]);
    run(&mut session, "COMMIT");
}

#[test]
fn nobody_else_may() {
    let database = Database::new("not_assumed");
    let mut session = alice(database.app());
    let error = assume(&mut session, &json!({ "sub": "bob" })).expect_err("no privilege");
    assert_eq!(error.sqlstate, "42501");
    // The function was not called, so what was there stays.
    assert_eq!(notes(&mut session), [1, 3]);
}

#[test]
fn claims_that_cannot_be_stated_are_refused_and_leave_nobody() {
    let database = database("assumed_badly");
    let now = pg_test::now();
    for (claims, words) in [
        (json!([]), "not a JSON object"),
        (json!("alice"), "not a JSON object"),
        (json!({ "sub": "bob", "act": { "sub": "boss" } }), "Claim \"act\" cannot be stated"),
        (json!({ "sub": "bob", "act": null }), "Claim \"act\" cannot be stated"),
        (json!({ "sub": "bob", "exp": now + 7200 }), "ahead"),
        (json!({ "sub": "bob", "exp": now - 1 }), "past"),
        (json!({ "sub": "bob", "exp": "tomorrow" }), "not a number"),
        (json!({ "sub": ["bob"] }), "names the user"),
        (json!({ "sub": "" }), "names the user"),
        (json!({ "sub": "bob", "iss": "https://another.test" }), "trusted issuer"),
    ] {
        let mut session = alice(database.app());
        let error = assume(&mut session, &claims).expect_err(words);
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("22023", "claims not accepted"), "{claims}");
        assert!(error.detail.as_deref().is_some_and(|detail| detail.contains(words)), "{claims}: {error:?}");
        assert_eq!(notes(&mut session), [0; 0], "{claims}: it fails closed");
        run(&mut session, "BEGIN");
        init(&mut session, &token("alice")).expect("a good token");
        assume(&mut session, &claims).expect_err(words);
        run(&mut session, "ROLLBACK");
        assert_eq!(notes(&mut session), [0; 0], "{claims}: a rollback brings nobody back");
    }
    let mut session = alice(database.app());
    let error = refused(&mut session, "SELECT auth.assume_identity(NULL)");
    assert_eq!((&*error.sqlstate, notes(&mut session)), ("22023", vec![]));
}

#[test]
fn numbers_are_as_they_were_stated() {
    let database = database("assumed_numbers");
    let mut session = database.app();
    run(&mut session, "SELECT auth.assume_identity('{\"sub\": \"alice\", \"n\": 12345678901234567890123}')");
    assert_eq!(value::<String>(&mut session, "SELECT auth.claim('n')"), "12345678901234567890123");
}

#[test]
fn it_ends_at_its_time() {
    let database = database("assumed_shortly");
    let mut session = database.app();
    // The allowed clock skew is 30 s.
    run(&mut database.superuser(), "LOAD 'pg_jwks'; ALTER DATABASE assumed_shortly SET pg_jwks.leeway = 0");
    let mut short = database.app();
    assume(&mut short, &json!({ "sub": "alice", "exp": pg_test::now() + 2 })).expect("the privilege");
    assume(&mut session, &alice_claims()).expect("the privilege");
    assert_eq!(notes(&mut short), [1, 3]);
    eventually("its end", || {
        let error = short.execute("SELECT owner FROM note", &[]).err().map(|error| pg_test::pg_error(&error))?;
        assert_eq!((&*error.sqlstate, &*error.message), ("28000", "JWT has expired"));
        Some(())
    });
    assert_eq!(notes(&mut session), [1, 3]);
}

/// Of EXECUTE, of a membership, of being a superuser: with the next statement, in open transactions too.
#[test]
fn it_ends_with_the_privilege() {
    let database = Database::new("assumed_and_revoked");
    let mut admin = database.superuser();
    run(&mut admin, "CREATE ROLE jobs; CREATE ROLE root_of_jobs LOGIN SUPERUSER; GRANT SELECT ON note TO root_of_jobs");
    const REASON: &str = "privilege to assume identities revoked";
    for (grant, revoke) in [
        (
            "GRANT EXECUTE ON FUNCTION auth.assume_identity TO app",
            "REVOKE EXECUTE ON FUNCTION auth.assume_identity FROM app",
        ),
        ("GRANT EXECUTE ON FUNCTION auth.assume_identity TO jobs; GRANT jobs TO app", "REVOKE jobs FROM app"),
        (
            "GRANT EXECUTE ON FUNCTION auth.assume_identity TO PUBLIC",
            "REVOKE EXECUTE ON FUNCTION auth.assume_identity FROM PUBLIC",
        ),
    ] {
        run(&mut admin, grant);
        let (mut session, mut open) = (database.app(), database.app());
        assume(&mut session, &alice_claims()).expect("the privilege");
        run(&mut open, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        assume(&mut open, &alice_claims()).expect("the privilege");
        for session in [&mut session, &mut open] {
            assert_eq!(notes(session), [1, 3], "{grant}");
        }
        run(&mut admin, revoke);
        assert_lost(&refused(&mut open, "SELECT auth.user_id()"), REASON);
        loses(&mut session, REASON);
        run(&mut admin, grant);
        assert_eq!(notes(&mut session), [1, 3], "with the privilege back it stands again");
        run(&mut admin, revoke);
    }
    let mut root = database.session_of("root_of_jobs");
    assume(&mut root, &alice_claims()).expect("a superuser");
    assert_eq!(value::<Option<String>>(&mut root, "SELECT auth.user_id()").as_deref(), Some("alice"));
    run(&mut admin, "ALTER ROLE root_of_jobs NOSUPERUSER");
    loses(&mut root, REASON);
}

#[test]
fn a_revoked_user_is_not_assumed_any_more_if_the_entry_means_all_time() {
    let database = database("assumed_user_revoked");
    let mut session = database.app();
    assume(&mut session, &alice_claims()).expect("the privilege");
    let mut admin = database.superuser();
    run(&mut admin, "SELECT auth.revoke(subject => 'bob', issued_before => 'infinity')");
    assert_eq!(notes(&mut session), [1, 3]);
    run(&mut admin, "SELECT auth.revoke(subject => 'alice', issued_before => 'infinity')");
    loses(&mut session, "token revoked");
}

#[test]
fn policies_can_refuse_it() {
    let database = database("assumed_refused");
    run(&mut database.superuser(), "CREATE POLICY himself ON note AS RESTRICTIVE USING (auth.actor() IS NULL)");
    let mut session = alice(database.app());
    assert_eq!(notes(&mut session), [1, 3]);
    assume(&mut session, &alice_claims()).expect("the privilege");
    assert_eq!(notes(&mut session), [0; 0]);
}

#[test]
fn parallel_workers_have_it() {
    let database = database("assumed_parallel");
    let mut session = database.app();
    assume(&mut session, &alice_claims()).expect("the privilege");
    run(&mut session, PARALLEL);
    assert_eq!(rows_for_workers(&mut session, "big"), 10_000);
}

#[test]
fn tenants_roles_and_restrictions_are_those_of_the_claims() {
    let settings = [
        ("tenant_claim", "tenant_id"),
        ("role_claim", "roles"),
        ("role_map", "writer=writer"),
        ("set_role", "on"),
        ("read_only_claim", "read_only"),
    ];
    let with = |options: pg_test::cluster::Options, (name, value): &(&str, &str)| {
        options.setting(&format!("pg_jwks.{name}"), value)
    };
    let cluster: Cluster = started(settings.iter().fold(options(), with));
    let mut admin = admin(&cluster);
    run(
        &mut admin,
        "CREATE ROLE writer; GRANT writer TO app; GRANT ALL ON note TO writer; \
         GRANT EXECUTE ON FUNCTION auth.assume_identity TO app",
    );
    let mut session = cluster.connect("app", "app");
    let claims = json!({ "sub": "alice", "tenant_id": "red", "roles": ["writer"] });
    assume(&mut session, &claims).expect("the privilege");
    assert_eq!(value::<String>(&mut session, "SELECT auth.tenant_id() || ' ' || current_user"), "red writer");
    run(&mut session, "UPDATE note SET owner = owner");
    let mut read_only = claims.clone();
    read_only["read_only"] = json!(true);
    // The role that the claims name has no such privilege of its own.
    assert_eq!(assume(&mut session, &claims).expect_err("the role of the claims").sqlstate, "42501");
    run(&mut session, "SELECT auth.jwt_session_clear()");
    assert_eq!(value::<String>(&mut session, "SELECT current_user"), "app");
    assume(&mut session, &json!({ "sub": "alice", "roles": [] })).expect_err("no role");
    assert_eq!(value::<String>(&mut session, "SELECT current_user"), "app");
    assert_eq!(notes(&mut session), [0; 0]);
    assume(&mut session, &read_only).expect("the privilege of app");
    assert_eq!(refused(&mut session, "UPDATE note SET owner = owner").sqlstate, "25006");
}

#[test]
fn without_any_issuer_the_plain_settings_count() {
    let cluster =
        Cluster::options().setting("pg_jwks.tenant_claim", "org").setting("pg_jwks.user_claim", "uid").start();
    let mut client = cluster.client();
    run(&mut client, "CREATE EXTENSION pg_jwks");
    assume(&mut client, &json!({ "uid": 7, "org": ["red", "blue"] })).expect("a superuser");
    assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "7");
    assert_eq!(value::<Vec<String>>(&mut client, "SELECT auth.tenant_ids()"), ["red", "blue"]);
    run(&mut client, "SELECT auth.set_tenant('blue')");
    assert_eq!(value::<String>(&mut client, "SELECT auth.tenant_id()"), "blue");
}

/// Who did what as whom is in the log, and in the view.
#[test]
fn it_is_audited_and_shown() {
    let cluster =
        started(options().setting("shared_preload_libraries", "pg_jwks").setting("pg_jwks.audit_claims", "tenant_id"));
    run(&mut admin(&cluster), "GRANT EXECUTE ON FUNCTION auth.assume_identity TO app");
    let mark = cluster.log_mark();
    let mut session = cluster.connect("app", "app");
    assume(&mut session, &alice_claims()).expect("the privilege");
    let query = "SELECT concat_ws(' ', subject, actor, origin) FROM auth.jwt_sessions WHERE origin = 'assumed'";
    assert_eq!(value::<String>(&mut admin(&cluster), query), "alice app assumed");
    let log = eventually("the audit line", || Some(cluster.log_since(mark)).filter(|log| log.contains("\"decision\"")));
    let line = log.lines().find(|line| line.contains("pg_jwks audit: ")).expect("a line");
    let line: Value = serde_json::from_str(line.split_once("audit: ").expect("JSON").1).expect("JSON");
    let expected =
        json!({ "decision": "assumed", "subject": "alice", "claims": { "tenant_id": "red" }, "user": "app" });
    assert_eq!(line, expected);
}
