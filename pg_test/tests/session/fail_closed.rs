//! After a failed `jwt_session_init` nobody sees the identity before it.

use std::sync::LazyLock;
use std::time::Instant;

use crate::server::*;
use pg_test::{Fault, Issuer, claims, now};
use postgres::Client;
use serde_json::json;

/// An issuer that never answers.
static HANGING: LazyLock<Issuer> = LazyLock::new(|| {
    let issuer = Issuer::start();
    issuer.set_fault(Fault::Hang);
    issuer
});

/// A database that trusts [`HANGING`] besides [`ISSUER`].
static DATABASE: LazyLock<&str> = LazyLock::new(|| {
    let name = database("fail_closed");
    let providers = json!([{ "issuer": HANGING.url(), "audience": "app" }]);
    run(
        &mut server().client(),
        &format!(
            "ALTER DATABASE {name} SET pg_jwks.providers = '{providers}';
             ALTER DATABASE {name} SET pg_jwks.allow_insecure_http = on"
        ),
    );
    name
});

fn victim() -> Client {
    let mut client = server().connect("app", &DATABASE);
    run(&mut client, PARALLEL);
    client
}

/// The ways in which an init fails: what, the call, and its SQLSTATE.
fn failures() -> Vec<(&'static str, String, &'static str)> {
    let call = |token: &str| format!("auth.jwt_session_init('{token}')");
    let cancelled = call(&KEY.sign(&claims(HANGING.url(), "bob")));
    vec![
        ("null", "auth.jwt_session_init(NULL)".into(), "22023"),
        ("null, and null for is_local", "auth.jwt_session_init(NULL, NULL)".into(), "22023"),
        ("malformed", call("garbage"), "22023"),
        ("empty", call(""), "22023"),
        ("forged", call(&forged_token("bob")), "28000"),
        ("expired", call(&token_with(json!({ "exp": now() - 3600 }))), "28000"),
        ("of another audience", call(&token_with(json!({ "aud": "shop" }))), "28000"),
        ("of another issuer", call(&token_with(json!({ "iss": "https://else.test" }))), "28000"),
        ("not representable", call(&token_with(json!({ "sub": "bob", "x": "a\u{0}b" }))), "22P05"),
        ("local", format!("auth.jwt_session_init('{}', true)", forged_token("bob")), "28000"),
        ("cancelled", cancelled, "57014"),
    ]
}

/// `call` as a statement that must fail with `sqlstate`. The caller takes back the timeout that cancels.
fn fail(client: &mut Client, what: &str, call: &str, sqlstate: &str) {
    if what == "cancelled" {
        run(client, "SET statement_timeout = '100ms'");
    }
    let error = refused(client, &format!("SELECT {call}"));
    assert_eq!(error.sqlstate, sqlstate, "{what}: {error:?}");
}

/// The same inside of a PL/pgSQL block that catches the error and looks for an identity itself.
fn catch(call: &str) -> String {
    format!(
        "DO $do$
         DECLARE seen bigint;
         BEGIN
             BEGIN
                 PERFORM {call};
                 RAISE 'it did not fail';
             EXCEPTION WHEN query_canceled OR invalid_parameter_value OR invalid_authorization_specification
                 OR untranslatable_character THEN
                 IF auth.user_id() IS NOT NULL THEN RAISE 'seen in the handler'; END IF;
             END;
             IF auth.user_id() IS NOT NULL OR auth.jwt() IS NOT NULL OR auth.has_scope('x')
                OR current_setting('pg_jwks.session') <> '' THEN RAISE 'seen after the block'; END IF;
             EXECUTE 'SELECT count(*) FROM big' INTO seen;
             IF seen > 0 THEN RAISE 'seen by a query after the block'; END IF;
         END$do$"
    )
}

/// Nobody: not the readers, not the setting, not in workers, which are asked first so that nothing cleared it for them.
#[track_caller]
fn assert_nobody(client: &mut Client, after: &str) {
    assert_eq!(rows_for_workers(client, "big"), 0, "{after}");
    assert_eq!(identity(client), None, "{after}");
    assert_eq!(value::<String>(client, "SHOW pg_jwks.session"), "", "{after}");
    assert_eq!(value::<String>(client, "SELECT current_setting('pg_jwks.session')"), "", "{after}");
    let row = client
        .query_one(
            "SELECT num_nonnulls(auth.jwt(), auth.session(), auth.user_id(), auth.uid(), auth.role(), auth.email(),
                    auth.claim('sub'), auth.organization(), auth.organization_id(), auth.expires_at()),
                    auth.has_scope('read'), auth.has_role('admin')",
            &[],
        )
        .expect("the readers");
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(1), row.get::<_, bool>(2)), (0, false, false), "{after}");
}

fn reset_timeout(client: &mut Client) {
    run(client, "RESET statement_timeout");
}

/// Each failure between the given statements, of which the first give alice's identity and the last end any
/// transaction.
fn check(before: &[String], after: &[&str]) {
    let mut client = victim();
    for (what, call, sqlstate) in failures() {
        for statement in before {
            run(&mut client, statement);
        }
        assert_eq!(identity(&mut client).as_deref(), Some("alice"), "{what}");
        fail(&mut client, what, &call, sqlstate);
        for statement in after {
            run(&mut client, statement);
        }
        reset_timeout(&mut client);
        assert_nobody(&mut client, what);
        // A later identity is not revoked, and what was is not brought back by its end.
        run(&mut client, &format!("BEGIN; {}", init_statement(&token("carol"))));
        assert_eq!(identity(&mut client).as_deref(), Some("carol"), "{what}");
        assert_eq!(rows_for_workers(&mut client, "big"), 10_000, "{what}");
        run(&mut client, "ROLLBACK");
        assert_nobody(&mut client, what);
    }
}

fn alice() -> String {
    init_statement(&token("alice"))
}

fn alice_locally() -> String {
    local_init_statement(&token("alice"))
}

fn bob() -> String {
    init_statement(&token("bob"))
}

#[test]
fn a_failed_init_leaves_no_identity() {
    check(&[alice()], &[]);
}

#[test]
fn a_failed_init_in_a_transaction_leaves_no_identity() {
    check(&[alice(), "BEGIN".into()], &["ROLLBACK"]);
    check(&[alice(), "BEGIN".into()], &["COMMIT"]);
}

#[test]
fn a_failed_init_in_a_savepoint_leaves_no_identity() {
    check(&[alice(), "BEGIN; SAVEPOINT s".into()], &["ROLLBACK TO s", "COMMIT"]);
    check(&[alice(), "BEGIN; SAVEPOINT s; SAVEPOINT t".into()], &["ROLLBACK TO s", "RELEASE s", "ROLLBACK"]);
}

#[test]
fn a_failed_init_in_the_transaction_of_the_identity_leaves_none() {
    check(&["BEGIN".into(), alice(), "SAVEPOINT s".into()], &["ROLLBACK TO s", "COMMIT"]);
    check(&["BEGIN; SAVEPOINT s".into(), alice(), "SAVEPOINT t".into()], &["ROLLBACK TO t", "RELEASE s", "COMMIT"]);
}

#[test]
fn a_failed_init_revokes_local_identities() {
    check(&["BEGIN".into(), alice_locally(), "SAVEPOINT s".into()], &["ROLLBACK TO s", "COMMIT"]);
}

/// Every identity that a rollback or a commit could bring back is gone, not only the last.
#[test]
fn a_failed_init_revokes_the_identities_beneath() {
    check(&[bob(), "BEGIN".into(), alice_locally()], &["ROLLBACK"]);
    check(&[bob(), "BEGIN".into(), alice_locally(), "SAVEPOINT s".into()], &["ROLLBACK TO s", "COMMIT"]);
    check(&[bob(), "BEGIN".into(), alice(), "SAVEPOINT s".into(), alice_locally()], &["ROLLBACK TO s", "ROLLBACK"]);
    check(&[bob(), "BEGIN".into(), alice(), "SAVEPOINT s".into(), alice_locally()], &["ROLLBACK TO s", "COMMIT"]);
}

/// Between the failure and the end of the transaction.
#[test]
fn the_transaction_goes_on_without_an_identity() {
    let mut client = victim();
    for (what, call, sqlstate) in failures() {
        run(&mut client, &alice());
        run(&mut client, "BEGIN; SAVEPOINT s");
        fail(&mut client, what, &call, sqlstate);
        run(&mut client, "ROLLBACK TO s");
        reset_timeout(&mut client);
        assert_nobody(&mut client, what);
        run(&mut client, "SAVEPOINT t");
        run(&mut client, &alice_locally());
        assert_eq!(rows_for_workers(&mut client, "big"), 10_000, "{what}");
        run(&mut client, "ROLLBACK TO t");
        assert_nobody(&mut client, what);
        run(&mut client, "COMMIT");
        assert_nobody(&mut client, what);
    }
}

#[test]
fn an_exception_block_around_a_failed_init_keeps_no_identity() {
    let mut client = victim();
    for (what, call, _) in failures() {
        let limit = if what == "cancelled" { "100ms" } else { "0" };
        for (before, after) in [
            (vec![alice()], "SELECT 1"),
            (vec!["BEGIN".into(), alice()], "COMMIT"),
            (vec![alice(), "BEGIN".into()], "ROLLBACK"),
            (vec![bob(), "BEGIN".into(), alice_locally()], "COMMIT"),
            (vec![bob(), "BEGIN".into(), alice(), "SAVEPOINT s".into()], "ROLLBACK"),
        ] {
            for statement in &before {
                run(&mut client, statement);
            }
            assert_eq!(identity(&mut client).as_deref(), Some("alice"));
            run(&mut client, &format!("SET statement_timeout = '{limit}'"));
            run(&mut client, &catch(&call));
            run(&mut client, "SET statement_timeout = 0");
            assert_nobody(&mut client, what);
            run(&mut client, after);
            run(&mut client, "SET statement_timeout = 0");
            assert_nobody(&mut client, what);
        }
    }
}

/// The handler's own statements, and those after it, when the block made an identity before.
#[test]
fn an_exception_block_that_replaced_the_identity_keeps_neither() {
    let mut client = victim();
    run(&mut client, &alice());
    let (bob, forged) = (token("bob"), forged_token("bob"));
    run(&mut client, &catch(&format!("auth.jwt_session_init('{bob}'), auth.jwt_session_init('{forged}')")));
    assert_nobody(&mut client, "two inits in one statement");
}

/// The opposite: nothing failed in an init, so the rollback brings the identity back.
#[test]
fn another_error_restores_the_identity() {
    let mut client = victim();
    run(&mut client, &alice());
    let bob = token("bob");
    refused(&mut client, &format!("SELECT auth.jwt_session_init('{bob}'), 1 / 0"));
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    run(
        &mut client,
        &format!(
            "DO $$BEGIN PERFORM auth.jwt_session_init('{bob}'); RAISE division_by_zero;
             EXCEPTION WHEN division_by_zero THEN NULL; END$$"
        ),
    );
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
}

#[test]
fn a_failed_init_is_cancelled_while_it_fetches() {
    let mut client = victim();
    run(&mut client, &alice());
    run(&mut client, "SET statement_timeout = '100ms'");
    let start = Instant::now();
    let call = init_statement(&KEY.sign(&claims(HANGING.url(), "bob")));
    assert_eq!(refused(&mut client, &call).sqlstate, "57014");
    assert!(start.elapsed().as_millis() >= 100, "it did not wait for the issuer");
    assert!(start.elapsed().as_secs() < 3, "it did not end when cancelled");
    assert!(HANGING.requests().discovery > 0);
    reset_timeout(&mut client);
    assert_nobody(&mut client, "cancelled");
}

#[test]
fn a_failed_init_in_a_pipeline_of_one_message_leaves_no_identity() {
    let mut client = victim();
    run(&mut client, &alice());
    refused(&mut client, &format!("{}; {}", bob(), init_statement("garbage")));
    assert_nobody(&mut client, "one message");
    run(&mut client, &alice());
    refused(&mut client, &format!("BEGIN; {}; COMMIT; {}; SELECT 1", bob(), init_statement("garbage")));
    assert_nobody(&mut client, "one message with a commit");
}

/// What a clear, a reset or an empty value would restore when rolled back is gone too.
#[test]
fn a_rolled_back_clear_does_not_bring_back_a_revoked_identity() {
    let mut client = victim();
    for clear in ["SELECT auth.jwt_session_clear()", "RESET ALL", "SET LOCAL pg_jwks.session = ''"] {
        run(&mut client, &alice());
        run(&mut client, "BEGIN; SAVEPOINT s");
        run(&mut client, clear);
        run(&mut client, "SAVEPOINT t");
        refused(&mut client, &init_statement("garbage"));
        run(&mut client, "ROLLBACK TO s");
        assert_eq!(identity(&mut client), None, "{clear}");
        run(&mut client, "ROLLBACK");
        run(&mut client, PARALLEL);
        assert_nobody(&mut client, clear);
    }
}

#[test]
fn a_failed_init_shows_nothing_of_the_former_identity() {
    let mut client = victim();
    init(&mut client, "alice");
    run(&mut client, "BEGIN");
    refused(&mut client, &init_statement(&forged_token("bob")));
    run(&mut client, "ROLLBACK");
    for show in [
        "SHOW pg_jwks.session",
        "SELECT current_setting('pg_jwks.session')",
        "SELECT current_setting('pg_jwks.session', true)",
    ] {
        assert_eq!(value::<String>(&mut client, show), "", "{show}");
    }
    run(
        &mut client,
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET pg_jwks.session FROM CURRENT AS 'SELECT 1'",
    );
    let kept: Vec<String> = value(&mut client, "SELECT proconfig FROM pg_proc WHERE oid = 'pg_temp.f'::regproc");
    assert_eq!(kept.concat().trim_end_matches('"'), "pg_jwks.session=");
}

/// A plan that was begun before the failure may start its workers after it.
#[test]
fn a_portal_bound_before_a_failed_init_has_no_identity_in_workers() {
    let mut client = victim();
    init(&mut client, "alice");
    let query = client.prepare("SELECT id FROM big").expect("a statement");
    for (fails, expected) in [(false, 10_000), (true, 0)] {
        let mut transaction = client.transaction().expect("BEGIN");
        let portal = transaction.bind(&query, &[]).expect("a portal");
        transaction.batch_execute("SAVEPOINT s").expect("SAVEPOINT");
        if fails {
            transaction.batch_execute(&init_statement(&forged_token("bob"))).expect_err("a forged token");
        }
        transaction.batch_execute("ROLLBACK TO s").expect("ROLLBACK TO");
        assert_eq!(transaction.query_portal(&portal, 0).expect("the portal").len(), expected);
    }
}

/// Utility statements start workers too, without an executor of their own.
#[test]
fn an_index_built_after_a_failed_init_has_no_identity_in_workers() {
    let name = database("index_after_failure");
    let mut client = server().connect("app", name);
    // The leader builds too, and its sleep leaves something to do for the workers.
    run(
        &mut client,
        "CREATE TABLE plain AS SELECT generate_series(1, 200000) AS id;
         ALTER TABLE plain SET (parallel_workers = 2);
         SET min_parallel_table_scan_size = 0; SET max_parallel_maintenance_workers = 2;
         SELECT set_config('test.leader', pg_backend_pid()::text, false);
         CREATE FUNCTION who(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
         BEGIN
            IF pg_backend_pid() = current_setting('test.leader')::int THEN
                IF id % 1000 = 0 THEN PERFORM pg_sleep(0.001); END IF;
            ELSIF auth.user_id() IS NOT NULL THEN
                RAISE 'a worker sees somebody';
            END IF;
            RETURN id;
         END$$",
    );
    init(&mut client, "alice");
    let error = refused(&mut client, "CREATE INDEX ON plain (who(id))");
    assert_eq!(error.message, "a worker sees somebody");
    try_init(&mut client, &forged_token("bob")).expect_err("a forged token");
    run(&mut client, "CREATE INDEX ON plain (who(id))");
}
