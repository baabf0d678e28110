//! A login is decided before the database and its settings are known; they judge it at the first statement.

use crate::server::*;
use pg_test::{Cluster, PgError, RawClient};
use serde_json::json;

at_each_door!(
    the_settings_of_the_database_and_of_the_role_judge_a_login,
    a_login_is_read_only_if_the_database_says_so,
    a_login_that_does_not_stand_ends_where_that_is_set,
    a_login_with_a_revoked_token_is_refused_at_its_first_statement,
    parallel_workers_of_a_login_that_does_not_stand_read_nothing,
);

fn logged_in(door: Door, cluster: &Cluster, claims: serde_json::Value) -> RawClient {
    door.connect(cluster, "alice", "named", &token_with(claims)).expect("a good token")
}

#[track_caller]
fn assert_lost(error: &PgError, reason: &str) {
    let message = format!("JWT no longer accepted: {reason}");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", message.as_str()), "{error:?}");
}

#[track_caller]
fn loses(client: &mut RawClient, reason: &str) {
    for read in ["SELECT auth.user_id()", "SELECT count(*) FROM big", "SELECT auth.expires_at()"] {
        assert_lost(&failed(client, read), reason);
    }
    // Whatever returns to the login does not mend it.
    for end in ["SELECT auth.jwt_session_clear()", "RESET ALL", "DISCARD ALL", "RESET pg_jwks.session"] {
        run(client, end);
        assert_lost(&failed(client, "SELECT count(*) FROM big"), reason);
    }
    run(client, "BEGIN");
    assert_lost(&failed(client, "SELECT count(*) FROM big"), reason);
    run(client, "ROLLBACK");
}

/// What a database or a role asks for beyond the server, and why the login of alice does not meet it.
const STRICTER: [(&str, &str, &str); 9] = [
    ("audience", "another", "audience not accepted"),
    ("required_scope", "admin", "scope missing"),
    ("required_claims", r#"{"hd": "example.com"}"#, "required claim missing"),
    ("token_type", "access", "token type not accepted"),
    ("max_token_age", "60s", "token too old"),
    ("max_token_lifetime", "60s", "token valid too long"),
    ("issuer", "https://another.test", "issuer not accepted"),
    ("allowed_algorithms", "RS256", "algorithm not allowed"),
    (
        "jwks",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        "key unknown",
    ),
];

fn the_settings_of_the_database_and_of_the_role_judge_a_login(door: Door) {
    let cluster = door.asking(door.of_key(), ISSUER);
    let mut admin = superuser(&cluster, "named");
    for whose in ["DATABASE named", "ROLE alice", "ROLE alice IN DATABASE named"] {
        for (name, stricter, reason) in STRICTER {
            let old = json!({ "iat": pg_test::now() - 3000 });
            admin.batch_execute(&format!("ALTER {whose} SET pg_jwks.{name} = '{stricter}'")).expect("ALTER");
            loses(&mut logged_in(door, &cluster, old.clone()), reason);
            admin.batch_execute(&format!("ALTER {whose} RESET pg_jwks.{name}")).expect("ALTER");
            assert_eq!(identity(&mut logged_in(door, &cluster, old)).as_deref(), Some("alice"), "{whose} {name}");
        }
    }
}

fn a_login_is_read_only_if_the_database_says_so(door: Door) {
    let cluster = door.asking(door.of_key(), ISSUER);
    let mut admin = superuser(&cluster, "named");
    admin
        .batch_execute(
            "ALTER DATABASE named SET pg_jwks.read_only_claim = 'support'; GRANT ALL ON SCHEMA public TO alice",
        )
        .expect("ALTER");
    let mut support = logged_in(door, &cluster, json!({ "support": true }));
    for write in [
        "CREATE TABLE t ()",
        "DELETE FROM big",
        "SELECT lo_create(7)",
        "BEGIN; SET TRANSACTION READ WRITE; CREATE TABLE t ()",
    ] {
        assert_eq!(failed(&mut support, write).sqlstate, "25006", "{write}");
        run(&mut support, "ROLLBACK");
    }
    run(&mut support, "RESET ALL");
    assert_eq!(failed(&mut support, "DELETE FROM big").sqlstate, "25006");
    run(&mut logged_in(door, &cluster, json!({})), "DELETE FROM big WHERE false");
}

fn a_login_that_does_not_stand_ends_where_that_is_set(door: Door) {
    let cluster = door.asking(door.of_key(), ISSUER);
    superuser(&cluster, "named")
        .batch_execute("ALTER DATABASE named SET pg_jwks.audience = 'another'; ALTER DATABASE named SET pg_jwks.on_expiry = terminate")
        .expect("ALTER");
    let mut client = logged_in(door, &cluster, json!({}));
    assert_lost(&failed(&mut client, "SELECT 1"), "audience not accepted");
    assert!(client.query("SELECT 1").is_err(), "the session goes on");
}

fn a_login_with_a_revoked_token_is_refused_at_its_first_statement(door: Door) {
    for preload in ["", "pg_jwks"].into_iter().filter(|preload| !preload.is_empty() || door == Door::OAuth) {
        let cluster = door.asking(door.of_key().setting("shared_preload_libraries", preload), ISSUER);
        let mut admin = superuser(&cluster, "named");
        let mut open = logged_in(door, &cluster, json!({}));
        assert_eq!(identity(&mut open).as_deref(), Some("alice"));
        admin.batch_execute("SELECT auth.revoke(subject => 'alice', issued_before => 'infinity')").expect("revoked");
        loses(&mut open, "token revoked");
        loses(&mut logged_in(door, &cluster, json!({})), "token revoked");
        run(&mut open, &format!("SELECT auth.jwt_session_init('{}')", token_with(json!({ "sub": "bob" }))));
        assert_eq!(identity(&mut open).as_deref(), Some("bob"));
        admin.batch_execute("DELETE FROM auth.revocations").expect("taken back");
        run(&mut open, "RESET ALL");
        assert_eq!(identity(&mut open).as_deref(), Some("alice"));
    }
}

fn parallel_workers_of_a_login_that_does_not_stand_read_nothing(door: Door) {
    let cluster = door.asking(door.of_key(), ISSUER);
    superuser(&cluster, "named").batch_execute("ALTER DATABASE named SET pg_jwks.max_token_age = 60").expect("ALTER");
    let mut client = logged_in(door, &cluster, json!({ "iat": pg_test::now() - 3000 }));
    run(&mut client, pg_test::parallel::PARALLEL);
    assert_lost(&failed(&mut client, "SELECT count(*) FROM big"), "token too old");
    run(&mut client, pg_test::parallel::force(&cluster));
    assert_lost(&failed(&mut client, "SELECT auth.user_id()"), "token too old");
}
