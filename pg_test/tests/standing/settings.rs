//! Settings that change end the identities that would not be accepted under them.

use crate::server::*;
use pg_test::parallel::{self, PARALLEL, rows_for_workers};
use pg_test::wait::eventually;
use pg_test::{Credentials, RawClient};
use serde_json::json;

/// What an operator changes, and why the identity of alice is lost then.
const CHANGES: [(&str, &str, &str); 9] = [
    ("issuer", "https://another.test", "issuer not accepted"),
    ("audience", "another", "audience not accepted"),
    ("required_scope", "admin", "scope missing"),
    ("required_claims", r#"{"hd": "example.com"}"#, "required claim missing"),
    ("audience_claim", "client_id", "audience not accepted"),
    ("token_type", "access", "token type not accepted"),
    ("allowed_algorithms", "RS256", "algorithm not allowed"),
    ("max_token_age", "60s", "token too old"),
    ("max_token_lifetime", "60s", "token valid too long"),
];

fn old_token() -> String {
    token_with(&json!({ "iat": pg_test::now() - 3000 }))
}

#[test]
fn a_changed_setting_ends_identities_and_changing_it_back_restores_them() {
    let cluster = started(options());
    let mut session = with_identity(cluster.connect("app", "app"), &old_token());
    let mut local = cluster.connect("app", "app");
    for (name, new, reason) in CHANGES {
        assert_eq!(notes(&mut session), [1, 3], "before {name}");
        run(&mut local, "BEGIN");
        local.execute("SELECT auth.jwt_session_init($1, true)", &[&old_token()]).expect("a good token");
        set_for_all(&cluster, &mut session, name, Some(new));
        loses(&mut session, reason);
        run(&mut local, "SAVEPOINT before");
        set_for_all(&cluster, &mut session, "leeway", Some("31"));
        assert_lost(&refused(&mut local, "SELECT owner FROM note"), reason);
        run(&mut local, "ROLLBACK TO before");
        assert_lost(&refused(&mut local, "SELECT owner FROM note"), reason);
        run(&mut local, "ROLLBACK");
        assert_eq!(notes(&mut local), [0; 0], "no identity is left");
        set_for_all(&cluster, &mut session, name, None);
        set_for_all(&cluster, &mut session, "leeway", None);
    }
    // Each was the server's, not the session's own: with it back, the token would be accepted again.
    set_for_all(&cluster, &mut session, "issuer", Some(ISSUER));
    assert_eq!(notes(&mut session), [1, 3]);
}

/// Where the token sets the role, it must name one that it may have.
#[test]
fn a_changed_map_of_roles_ends_identities_that_have_no_role_in_it() {
    let settings = [("role_claim", "roles"), ("role_map", "writer=writer"), ("set_role", "on")];
    let with_setting = |options: pg_test::cluster::Options, (name, value): &(&str, &str)| {
        options.setting(&format!("pg_jwks.{name}"), value)
    };
    let cluster = started(settings.iter().fold(options(), with_setting));
    run(&mut cluster.client(), "CREATE ROLE writer; GRANT writer TO app");
    let token = token_with(&json!({ "roles": ["writer"] }));
    let mut session = with_identity(cluster.connect("app", "app"), &token);
    assert_eq!(value::<String>(&mut session, "SELECT current_user::text"), "writer");
    for (name, new) in [("role_map", "admin=writer"), ("role_claim", "groups")] {
        init(&mut session, &token).expect("a good token");
        set_for_all(&cluster, &mut session, name, Some(new));
        loses(&mut session, "role not accepted");
        assert_eq!(value::<String>(&mut session, "SELECT current_user::text"), "app", "no right outlives its identity");
        let old = settings.iter().find(|(setting, _)| *setting == name).expect("a setting").1;
        set_for_all(&cluster, &mut session, name, Some(old));
        assert_eq!(notes(&mut session), [1, 3]);
    }
}

#[test]
fn an_identity_becomes_read_only_with_the_setting() {
    let cluster = started(options());
    let claims = json!({ "support": true });
    let mut session = with_identity(cluster.connect("app", "app"), &token_with(&claims));
    run(&mut session, "INSERT INTO note VALUES (10, 'alice')");
    set_for_all(&cluster, &mut session, "read_only_claim", Some("support"));
    assert_eq!(refused(&mut session, "DELETE FROM note").sqlstate, "25006");
    set_for_all(&cluster, &mut session, "read_only_claim", None);
    run(&mut session, "DELETE FROM note");
}

#[test]
fn only_members_of_pg_monitor_are_told_the_new_values() {
    let cluster = started(options());
    let mut session = alice(cluster.connect("app", "app"));
    let mut monitor = alice(admin(&cluster));
    set_for_all(&cluster, &mut session, "audience", Some("confidential"));
    let told = refused(&mut session, "SELECT auth.user_id()");
    assert_lost(&told, "audience not accepted");
    assert!(!format!("{told:?}").contains("confidential"), "{told:?}");
    set_for_all(&cluster, &mut monitor, "leeway", Some("31"));
    assert!(format!("{:?}", refused(&mut monitor, "SELECT auth.user_id()")).contains("confidential"));
}

#[test]
fn a_lost_identity_ends_the_session_if_that_is_set() {
    let cluster = started(options().setting("pg_jwks.on_expiry", "terminate"));
    let mut session = RawClient::connect(&cluster, "app", "app", Credentials::None).expect("a session");
    session.query(&format!("SELECT auth.jwt_session_init('{}')", token("alice"))).expect("a good token");
    set_for_all(&cluster, &mut cluster.connect("app", "app"), "audience", Some("another"));
    eventually("the new setting", || {
        let audience = session.value("SELECT current_setting('pg_jwks.audience')");
        (audience.as_deref() == Some("another")).then_some(())
    });
    assert_lost(&session.query("SELECT owner FROM note").expect_err("lost"), "audience not accepted");
    assert_eq!(session.query("SELECT 1").expect_err("the session goes on").sqlstate, "", "the connection is closed");
}

#[test]
fn parallel_workers_leave_the_judgement_to_their_leader() {
    let cluster = started(options());
    let mut session = alice(cluster.connect("app", "app"));
    run(&mut session, PARALLEL);
    assert_eq!(rows_for_workers(&mut session, "big"), 10_000);
    set_for_all(&cluster, &mut session, "audience", Some("another"));
    assert_lost(&refused(&mut session, "SELECT count(*) FROM big"), "audience not accepted");
    run(&mut session, parallel::force(&cluster));
    assert_lost(&refused(&mut session, "SELECT auth.user_id()"), "audience not accepted");
    set_for_all(&cluster, &mut session, "audience", Some("app"));
    assert_eq!(rows_for_workers(&mut session, "big"), 10_000);
}

#[test]
fn a_session_s_own_settings_judge_its_identity() {
    let cluster = started(options());
    let mut session = alice(admin(&cluster));
    run(&mut session, "BEGIN; SET LOCAL pg_jwks.audience = 'another'; SAVEPOINT s");
    loses_in_transaction(&mut session);
    run(&mut session, "ROLLBACK");
    assert_eq!(value::<String>(&mut session, "SELECT auth.user_id()"), "alice");
}

fn loses_in_transaction(session: &mut postgres::Client) {
    assert_lost(&refused(session, "SELECT auth.user_id()"), "audience not accepted");
    run(session, "ROLLBACK TO s");
    assert_lost(&refused(session, "SELECT auth.user_id()"), "audience not accepted");
}
