//! A login ends when its token does.

use std::thread::sleep;
use std::time::Duration;

use crate::server::*;
use pg_test::sql::run_with_grants;
use pg_test::{Credentials, PgError, RawClient, now};
use serde_json::json;

at_each_door!(
    an_expired_login_is_an_error_until_there_is_a_new_token,
    an_expired_login_ends_where_that_is_set,
    an_expired_identity_of_any_session_ends_it_where_that_is_set,
    a_login_that_is_past_runs_no_parallel_workers,
    a_user_cannot_prolong_his_login,
);

/// Longer than any of the tokens here.
const EXPIRED: Duration = Duration::from_millis(3200);

fn short_token(door: Door, sub: &str) -> String {
    // The server's start is not to count.
    door.server();
    token_with(json!({ "sub": sub, "exp": now() + 3 }))
}

fn short_lived(door: Door) -> RawClient {
    door.login("alice", "named", &short_token(door, "alice")).expect("a good token")
}

fn terminate(door: Door, client: &mut RawClient, db: &str) {
    let grant = "GRANT SET ON PARAMETER pg_jwks.on_expiry TO alice";
    run_with_grants(&mut superuser(door.server(), db), grant);
    run(client, "SET pg_jwks.on_expiry = terminate");
}

fn assert_expired(error: &PgError, hint: &str) {
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT has expired"), "{error:?}");
    assert_eq!(error.hint.as_deref(), Some(hint), "{error:?}");
}

const AGAIN: &str = "Connect again, with a new token.";
const INIT: &str = "Call auth.jwt_session_init() with a new token, or auth.jwt_session_clear().";

fn an_expired_login_is_an_error_until_there_is_a_new_token(door: Door) {
    let mut client = short_lived(door);
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    sleep(EXPIRED);
    for read in ["SELECT auth.user_id()", "SELECT count(*) FROM big", "SELECT auth.expires_at()"] {
        assert_expired(&failed(&mut client, read), INIT);
    }
    // Returning to the login does not prolong it.
    for end in ["SELECT auth.jwt_session_clear()", "RESET ALL", "DISCARD ALL"] {
        run(&mut client, end);
        assert_expired(&failed(&mut client, "SELECT auth.user_id()"), INIT);
    }
    run(&mut client, &format!("SELECT auth.jwt_session_init('{}')", KEY.sign(&good())));
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    run(&mut client, "RESET ALL");
    assert_expired(&failed(&mut client, "SELECT auth.user_id()"), INIT);
}

fn an_expired_login_ends_where_that_is_set(door: Door) {
    let mut client = short_lived(door);
    terminate(door, &mut client, "named");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    sleep(EXPIRED);
    let mark = door.server().log_mark();
    assert_expired(&failed(&mut client, "SELECT 1"), AGAIN);
    assert_eq!(failed(&mut client, "SELECT 1").sqlstate, "", "the connection is closed");
    logged(door.server(), mark, "FATAL:  JWT has expired");
}

fn an_expired_identity_of_any_session_ends_it_where_that_is_set(door: Door) {
    let mut client = sql_session(door, "sql_sessions");
    sleep(EXPIRED);
    run(&mut client, "SELECT 1");
    assert_expired(&failed(&mut client, "SELECT count(*) FROM big"), AGAIN);
    assert_eq!(failed(&mut client, "SELECT 1").sqlstate, "", "the connection is closed");
}

/// A session that has its identity from SQL, and ends when it uses that too late.
fn sql_session(door: Door, db: &str) -> RawClient {
    door.server().client().batch_execute(&format!("CREATE DATABASE {db}")).expect("CREATE DATABASE");
    let mut client = RawClient::connect(door.server(), "alice", db, Credentials::None).expect("a session");
    run(&mut client, &format!("SELECT auth.jwt_session_init('{}')", short_token(door, "alice")));
    terminate(door, &mut client, db);
    client
}

/// A worker cannot end the session of its leader: its statement fails, and the leader ends at its next one.
fn a_login_that_is_past_runs_no_parallel_workers(door: Door) {
    let mut client = sql_session(door, "workers");
    run(
        &mut client,
        "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;
         SET plan_cache_mode = force_generic_plan;
         PREPARE count AS SELECT count(*) FROM big WHERE id > 0",
    );
    // Planned before, and with a condition on each row, so that the leader evaluates nothing.
    let query = "EXECUTE count";
    let plan = client.value("EXPLAIN (FORMAT JSON) EXECUTE count").expect("a plan");
    assert!(plan.contains("Gather"), "{plan}");
    assert_eq!(client.value(query).as_deref(), Some("10000"));
    sleep(EXPIRED);
    // A worker could not end the session.
    assert_expired(&failed(&mut client, query), AGAIN);
    assert_eq!(failed(&mut client, "SELECT 1").sqlstate, "", "the connection is closed");
}

fn a_user_cannot_prolong_his_login(door: Door) {
    let mut client = door.alice();
    let error = failed(&mut client, "SET pg_jwks.leeway = '300s'");
    assert_eq!(error.sqlstate, "42501", "{error:?}");
    let text = client.value("SHOW pg_jwks.session").expect("the claims");
    let longer = text.replace("\"exp\":1", "\"exp\":2");
    assert_ne!(text, longer);
    assert_eq!(failed(&mut client, &format!("SET pg_jwks.session = '{longer}'")).sqlstate, "42501");
}
