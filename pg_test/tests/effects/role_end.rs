//! The role of an identity (`pg_jwks.set_role`) is gone at the next statement, however the identity went.

use postgres::Client;
use serde_json::json;

use crate::server::*;

/// The ways to end an identity that are no call of the extension's, and what pools send before the next borrower.
const ENDS: [&str; 10] = [
    "RESET ALL",
    "RESET pg_jwks.session",
    "SET pg_jwks.session TO DEFAULT",
    "SET pg_jwks.session = ''",
    "SELECT set_config('pg_jwks.session', '', false)",
    "DO $$ BEGIN PERFORM set_config('pg_jwks.session', '', false); END $$",
    "DISCARD ALL",
    // asyncpg
    "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
    // Npgsql, if it keeps prepared statements
    "CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); RESET ALL; DISCARD SEQUENCES; DISCARD TEMP",
    // psycopg and SQLAlchemy roll back before
    "ROLLBACK; RESET ALL",
];

/// What only `app_admin` reads, by a grant and by a policy.
fn database_of(name: &str) -> String {
    let settings = [("set_role", "on"), ("role_claim", "roles"), ("leeway", "0")];
    let database = database(name, &settings);
    run(
        &mut server().connect("postgres", &database),
        "CREATE TABLE granted (x int); INSERT INTO granted VALUES (1); GRANT SELECT ON granted TO app_admin;
         CREATE TABLE note (x int); INSERT INTO note VALUES (1), (2); GRANT SELECT ON note TO app, app_admin;
         ALTER TABLE note ENABLE ROW LEVEL SECURITY; CREATE POLICY admins ON note TO app_admin USING (true);",
    );
    database
}

fn admin() -> String {
    token(json!({ "roles": "app_admin" }))
}

#[track_caller]
fn role(client: &mut Client) -> String {
    value(client, "SELECT current_user::text")
}

#[track_caller]
fn notes(client: &mut Client) -> i64 {
    value(client, "SELECT count(*) FROM note")
}

#[test]
fn the_next_borrower_has_neither_identity_nor_role() {
    let mut client = app(&database_of("role_end"));
    for end in ENDS {
        for first in
            ["SELECT x FROM granted", "TABLE granted", "COPY granted TO STDOUT", "COPY (TABLE granted) TO STDOUT"]
        {
            init(&mut client, &admin());
            assert_eq!(notes(&mut client), 2, "{end}");
            run(&mut client, end);
            assert_eq!(refused(&mut client, first).sqlstate, "42501", "{first} after {end}");
        }
        init(&mut client, &admin());
        run(&mut client, end);
        assert_eq!(notes(&mut client), 0, "the first query after {end}");
        init(&mut client, &admin());
        run(&mut client, end);
        assert_eq!(role(&mut client), "app", "{end}");
        assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None, "{end}");
    }
}

#[test]
fn within_one_message_the_next_statement_has_lost_the_role() {
    let mut client = app(&database_of("role_end_message"));
    for end in ENDS {
        // Neither can be within a transaction, which a message is.
        if !end.contains("DISCARD") {
            init(&mut client, &admin());
            assert_eq!(refused(&mut client, &format!("{end}; SELECT x FROM granted")).sqlstate, "42501", "{end}");
            run(&mut client, &format!("{end}; SELECT 1 / (count(*) - 1) FROM note"));
        }
    }
}

#[test]
fn a_statement_prepared_for_the_role_is_refused_once() {
    let mut client = app(&database_of("role_end_prepared"));
    let rows = client.prepare("SELECT count(*) FROM note").expect("a statement");
    let end = client.prepare("SELECT set_config('pg_jwks.session', '', false)").expect("a statement");
    for _ in 0..7 {
        init(&mut client, &admin());
        assert_eq!(client.query_one(&rows, &[]).expect("a count").get::<_, i64>(0), 2);
        client.execute(&end, &[]).expect("set_config");
        let error = client.query_one(&rows, &[]).map(drop).expect_err("a plan for a role that is gone");
        let error = pg_test::pg_error(&error);
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "identity is gone"));
        assert_eq!(client.query_one(&rows, &[]).expect("a count").get::<_, i64>(0), 0);
    }
}

#[test]
fn a_rollback_brings_identity_and_role_back_together() {
    let mut client = app(&database_of("role_end_back"));
    init(&mut client, &admin());
    for end in ["RESET ALL", "RESET pg_jwks.session", "SELECT set_config('pg_jwks.session', '', false)"] {
        for (begin, back) in [("BEGIN", "ROLLBACK"), ("BEGIN; SAVEPOINT s", "ROLLBACK TO s")] {
            run(&mut client, &format!("{begin}; {end}"));
            assert_eq!(role(&mut client), "app", "{end}");
            run(&mut client, back);
            assert_eq!(role(&mut client), "app_admin", "{end}, {back}");
            assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "alice", "{end}, {back}");
            run(&mut client, "ROLLBACK");
        }
    }
    run(&mut client, "BEGIN; SET LOCAL ROLE web; RESET pg_jwks.session; COMMIT");
    assert_eq!(role(&mut client), "app", "a local role hid that of the identity");
}

#[test]
fn the_applications_own_role_stays() {
    let mut client = app(&database_of("role_end_own"));
    for own in ["SET ROLE app_admin", "SELECT set_config('role', 'app_admin', false)", "SET ROLE web"] {
        let name = if own.contains("web") { "web" } else { "app_admin" };
        init(&mut client, &admin());
        run(&mut client, "RESET ALL");
        run(&mut client, own);
        for between in ["SELECT 1", "BEGIN; SAVEPOINT s; SELECT 1; ROLLBACK TO s; COMMIT", "BEGIN; SELECT 1; ROLLBACK"]
        {
            run(&mut client, between);
            assert_eq!(role(&mut client), name, "{own}, {between}");
        }
        init(&mut client, &admin());
        run(&mut client, "SET ROLE web; RESET ALL");
        assert_eq!(role(&mut client), "web", "set over that of the identity");
        run(&mut client, "RESET ROLE");
    }
}
