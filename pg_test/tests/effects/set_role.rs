//! `pg_jwks.set_role`: the role comes and goes with the identity.

use postgres::Client;
use serde_json::json;

use crate::server::*;

const MAP: &str = "admin=app_admin, writer=app_writer, root=postgres, stranger=outsider, gone=no_such_role";

fn settings() -> Vec<(&'static str, &'static str)> {
    vec![("set_role", "on"), ("role_claim", "roles"), ("role_map", MAP)]
}

fn roles(roles: serde_json::Value) -> String {
    token(json!({ "roles": roles }))
}

#[track_caller]
fn role(client: &mut Client) -> String {
    let current: String = value(client, "SELECT current_user::text");
    assert_eq!(value::<String>(client, "SELECT session_user::text"), "app");
    current
}

#[test]
fn the_mapped_role_is_set_with_the_scope_of_the_identity() {
    let mut client = app(&database("scope", &settings()));
    assert_eq!(role(&mut client), "app");
    init(&mut client, &roles(json!("admin")));
    assert_eq!(role(&mut client), "app_admin");
    run(&mut client, "BEGIN");
    try_init(&mut client, &roles(json!(["x", "writer"])), true).expect("a writer");
    assert_eq!(role(&mut client), "app_writer");
    run(&mut client, "COMMIT");
    assert_eq!(role(&mut client), "app_admin");
    run(&mut client, "BEGIN");
    try_init(&mut client, &roles(json!(["writer"])), false).expect("a writer");
    run(&mut client, "ROLLBACK");
    assert_eq!(role(&mut client), "app_admin");
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(role(&mut client), "app");
    init(&mut client, &roles(json!("writer")));
    run(&mut client, "DISCARD ALL");
    assert_eq!(role(&mut client), "app");
}

#[test]
fn of_several_roles_the_first_of_the_map_counts() {
    let mut client = app(&database("several", &settings()));
    init(&mut client, &roles(json!(["writer", "gone", "admin"])));
    assert_eq!(role(&mut client), "app_admin");
}

#[test]
fn an_empty_map_takes_roles_as_they_are() {
    let mut client = app(&database("unmapped", &[("set_role", "on"), ("role_claim", "realm.roles")]));
    init(&mut client, &token(json!({ "realm": { "roles": ["no_such_role", "app_writer"] } })));
    assert_eq!(role(&mut client), "app_writer");
    let error = try_init(&mut client, &token(json!({ "realm": { "roles": ["postgres"] } })), false).unwrap_err();
    assert_eq!((error.sqlstate.as_str(), role(&mut client).as_str()), ("42501", "app"));
}

/// Whatever a token names, a session gets no role that its user is no member of.
#[test]
fn refusals_leave_neither_identity_nor_role() {
    let mut client = app(&database("refusals", &settings()));
    for (claims, sqlstate, message) in [
        (json!({}), "28000", "JWT rejected: role not accepted"),
        (json!({ "roles": "app_admin" }), "28000", "JWT rejected: role not accepted"),
        (json!({ "roles": ["gone"] }), "28000", "JWT rejected: role not accepted"),
        (json!({ "roles": { "admin": true } }), "28000", "JWT rejected: role not accepted"),
        (json!({ "roles": "Admin" }), "28000", "JWT rejected: role not accepted"),
        (json!({ "roles": "stranger" }), "42501", "permission denied to set role \"outsider\""),
        (json!({ "roles": "root" }), "42501", "permission denied to set role \"postgres\""),
        (json!({ "roles": "admin", "exp": 1 }), "28000", "JWT rejected: token expired"),
    ] {
        for is_local in [false, true] {
            for before in [None, Some("admin")] {
                run(&mut client, "DISCARD ALL");
                if let Some(before) = before {
                    init(&mut client, &roles(json!(before)));
                }
                let error = try_init(&mut client, &token(claims.clone()), is_local).unwrap_err();
                assert_eq!((error.sqlstate.as_str(), error.message.as_str()), (sqlstate, message), "{claims}");
                assert_eq!(role(&mut client), "app", "{claims} after {before:?}");
                assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None, "{claims}");
            }
        }
    }
}

#[test]
fn no_rollback_brings_the_role_of_a_failed_session_back() {
    let mut client = app(&database("rollbacks", &settings()));
    let (admin, bad) = (roles(json!("admin")), roles(json!("nobody")));
    let fail_after = |client: &mut Client, begin: &str| {
        init(client, &admin);
        run(client, begin);
        try_init(client, &bad, false).expect_err("no role of the map");
    };
    for end in ["COMMIT", "ROLLBACK"] {
        fail_after(&mut client, "BEGIN");
        run(&mut client, end);
        assert_eq!(role(&mut client), "app", "BEGIN, {end}");

        fail_after(&mut client, "BEGIN; SAVEPOINT a; SAVEPOINT b");
        run(&mut client, "ROLLBACK TO b");
        assert_eq!(role(&mut client), "app", "ROLLBACK TO b");
        run(&mut client, "ROLLBACK TO a");
        assert_eq!(role(&mut client), "app", "ROLLBACK TO a");
        run(&mut client, end);
        assert_eq!(role(&mut client), "app", "savepoints, {end}");

        fail_after(&mut client, "BEGIN; SAVEPOINT a; SAVEPOINT b");
        run(&mut client, "ROLLBACK TO b; RELEASE b; RELEASE a");
        assert_eq!(role(&mut client), "app", "RELEASE");
        run(&mut client, end);
        assert_eq!(role(&mut client), "app", "RELEASE, {end}");

        init(&mut client, &admin);
        let caught = format!(
            "DO $$ BEGIN PERFORM auth.jwt_session_init('{bad}'); EXCEPTION WHEN OTHERS THEN
                 IF current_user <> 'app' THEN RAISE 'still %', current_user; END IF; END $$;"
        );
        run(&mut client, &format!("BEGIN; {caught}"));
        assert_eq!(role(&mut client), "app", "EXCEPTION");
        run(&mut client, end);
        assert_eq!(role(&mut client), "app", "EXCEPTION, {end}");
    }
}

#[test]
fn a_failure_inside_a_security_definer_function_ends_the_role_with_the_transaction() {
    let database = database("definer", &settings());
    let mut owner = server().connect("postgres", &database);
    run(
        &mut owner,
        "CREATE FUNCTION try_init(token text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
         $$ BEGIN PERFORM auth.jwt_session_init(token); RETURN 'accepted';
            EXCEPTION WHEN OTHERS THEN RETURN current_user; END $$;",
    );
    let mut client = app(&database);
    init(&mut client, &roles(json!("admin")));
    let within: String =
        client.query_one("SELECT try_init($1)", &[&roles(json!("nobody"))]).expect("the error is caught").get(0);
    assert_eq!(within, "postgres", "the function goes on as its owner");
    assert_eq!(role(&mut client), "app");
}

#[test]
fn a_good_token_after_a_caught_failure_has_its_role() {
    let mut client = app(&database("caught", &settings()));
    init(&mut client, &roles(json!("admin")));
    run(&mut client, "BEGIN; SAVEPOINT s");
    assert!(try_init(&mut client, &roles(json!("nobody")), false).is_err());
    run(&mut client, "ROLLBACK TO s");
    try_init(&mut client, &roles(json!("writer")), false).expect("a writer");
    run(&mut client, "COMMIT");
    assert_eq!(role(&mut client), "app_writer");
}

#[test]
fn the_applications_own_role_is_left_alone() {
    let mut client = app(&database("own_role", &settings()));
    run(&mut client, "SET ROLE web; BEGIN");
    try_init(&mut client, &roles(json!("admin")), true).expect("an admin");
    run(&mut client, "COMMIT");
    assert!(try_init(&mut client, &roles(json!("nobody")), true).is_err());
    assert_eq!(role(&mut client), "web", "not widened to the session user");
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(role(&mut client), "web");
}

#[test]
fn rows_follow_the_role_in_prepared_statements() {
    let database = database("plans", &settings());
    let mut owner = server().connect("postgres", &database);
    run(
        &mut owner,
        "CREATE TABLE note (body text); INSERT INTO note VALUES ('a'), ('b');
         ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         CREATE POLICY admins ON note TO app_admin USING (true);
         GRANT SELECT ON note TO app, app_admin, app_writer;",
    );
    let mut client = app(&database);
    let rows = client.prepare("SELECT count(*) FROM note").expect("a statement");
    let seen = |client: &mut Client| client.query_one(&rows, &[]).expect("a count").get::<_, i64>(0);
    for _ in 0..7 {
        init(&mut client, &roles(json!("admin")));
        assert_eq!(seen(&mut client), 2);
        assert!(try_init(&mut client, &roles(json!("nobody")), false).is_err());
        assert_eq!(seen(&mut client), 0, "after a failed init");
        init(&mut client, &roles(json!("writer")));
        assert_eq!(seen(&mut client), 0);
    }
}

#[test]
fn turned_off_the_claim_changes_nothing() {
    let mut client = app(&database("off", &[("role_claim", "roles"), ("role_map", MAP)]));
    init(&mut client, &roles(json!("admin")));
    assert_eq!(role(&mut client), "app");
    assert!(value::<bool>(&mut client, "SELECT auth.has_role('admin')"));
}

#[test]
fn the_role_ends_when_the_token_expires() {
    let mut settings = settings();
    settings.push(("leeway", "0"));
    let database = database("expiry", &settings);
    let mut owner = server().connect("postgres", &database);
    run(
        &mut owner,
        "CREATE TABLE note (body text); INSERT INTO note VALUES ('a'), ('b');
         ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         CREATE POLICY admins ON note TO app_admin USING (true);
         CREATE TABLE granted (body text); INSERT INTO granted VALUES ('a');
         GRANT SELECT ON note, granted TO app_admin; GRANT SELECT ON note TO app;
         CREATE FUNCTION who() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';",
    );
    let mut client = app(&database);
    let rows = client.prepare("SELECT count(*) FROM note").expect("a statement");
    init(&mut client, &token(json!({ "roles": "admin", "exp": pg_test::now() + 2 })));
    let seen: i64 = client.query_one(&rows, &[]).expect("a count").get(0);
    assert_eq!(seen, 2);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for _ in 0..2 {
        let error = client.query_one(&rows, &[]).map(drop).expect_err("a plan for a role that is gone");
        assert_eq!(pg_test::pg_error(&error).message, "JWT has expired");
        assert_eq!(refused(&mut client, "SELECT * FROM granted").sqlstate, "28000");
        assert_eq!(refused(&mut client, "COPY granted TO STDOUT").sqlstate, "42501", "without the role no right");
        assert_eq!(value::<String>(&mut client, "SELECT who()"), "postgres");
        assert_eq!(role(&mut client), "app");
    }
    init(&mut client, &roles(json!("admin")));
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 2, "a new token");
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 0, "nobody");
}

#[test]
fn a_new_token_is_taken_by_a_prepared_statement_after_expiry() {
    let mut settings = settings();
    settings.push(("leeway", "0"));
    let mut client = app(&database("renewal", &settings));
    let renew = client.prepare("SELECT auth.jwt_session_init($1)").expect("a statement");
    client.execute(&renew, &[&token(json!({ "roles": "admin", "exp": pg_test::now() + 2 }))]).expect("a good token");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    client.execute(&renew, &[&roles(json!("writer"))]).expect("a good token");
    assert_eq!(role(&mut client), "app_writer");
}

#[test]
fn a_security_definer_function_can_clear_the_session() {
    let database = database("logout", &settings());
    run(
        &mut server().connect("postgres", &database),
        "CREATE FUNCTION logout() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
         $$ BEGIN PERFORM auth.jwt_session_clear(); RETURN current_user; END $$;",
    );
    let mut client = app(&database);
    init(&mut client, &roles(json!("admin")));
    assert_eq!(value::<String>(&mut client, "SELECT logout()"), "postgres");
    assert_eq!(role(&mut client), "app");
    assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
}

/// What `auth.jwt_explain` says of the role, and whether init accepts the token.
#[track_caller]
fn explained(client: &mut Client, token: &str) -> (Option<bool>, String) {
    let query = "SELECT ok, coalesce(detail, '') FROM auth.jwt_explain($1) WHERE \"check\" = 'role'";
    let row = client.query_one(query, &[&token]).expect("a row for the role");
    let failed = "SELECT count(*) FROM auth.jwt_explain($1) WHERE ok IS NOT TRUE";
    let passes = client.query_one(failed, &[&token]).expect("jwt_explain").get::<_, i64>(0) == 0;
    let accepted = try_init(client, token, false).is_ok();
    run(client, "SELECT auth.jwt_session_clear()");
    assert_eq!(passes, accepted, "jwt_explain and jwt_session_init disagree");
    (row.get(0), row.get(1))
}

#[test]
fn jwt_explain_says_what_becomes_of_the_role() {
    let database = database("explained", &settings());
    let mut client = app(&database);
    assert_eq!(explained(&mut client, &roles(json!("admin"))), (Some(true), String::new()));
    for (claimed, words) in [
        (json!("nobody"), "must name a role"),
        (json!("gone"), "must name a role"),
        (json!(null), "must name a role"),
        (json!("stranger"), "not a member of role \"outsider\""),
        (json!("root"), "not a member of role \"postgres\""),
    ] {
        let (ok, detail) = explained(&mut client, &roles(claimed.clone()));
        assert_eq!(ok, Some(false), "{claimed}");
        assert!(detail.contains(words), "{claimed}: {detail}");
    }
    assert_eq!(role(&mut client), "app", "an explanation sets no role");
}

#[test]
fn without_set_role_no_role_is_refused() {
    let mut client = app(&database("unexplained", &[("role_map", MAP)]));
    assert_eq!(explained(&mut client, &roles(json!("nobody"))), (Some(true), String::new()));
}
