//! Who may see and do what.

use pg_test::app::App;
use pg_test::pg_error;

use crate::server::CLUSTER;

const READ: [&str; 3] =
    ["SELECT * FROM auth.jwks()", "SELECT * FROM auth.jwt_stats", "SELECT * FROM auth.jwt_counters()"];

#[test]
fn users_see_neither_keys_nor_counters() {
    let mut session = App::plain(&CLUSTER, &[]).connect();
    for statement in READ.iter().chain(&["SELECT auth.jwks_refresh()"]) {
        let error = session.batch_execute(statement).expect_err("no privilege");
        assert_eq!(pg_error(&error).sqlstate, "42501", "{statement}");
    }
}

#[test]
fn monitors_read_and_do_not_refresh() {
    let app = App::plain(&CLUSTER, &[]);
    CLUSTER.client().batch_execute(&format!("GRANT pg_monitor TO {}", app.role())).expect("GRANT");
    let mut session = app.connect();
    for statement in READ {
        session.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let error = session.batch_execute("SELECT auth.jwks_refresh()").expect_err("no privilege");
    assert_eq!(pg_error(&error).sqlstate, "42501");
    let error = session.batch_execute("SET pg_jwks.issuer = 'https://evil.example'").expect_err("no privilege");
    assert_eq!(pg_error(&error).sqlstate, "42501");
}

#[test]
fn the_size_of_the_cache_is_fixed_at_the_start() {
    let error = CLUSTER.client().batch_execute("SET pg_jwks.shared_cache_size = '2MB'").expect_err("postmaster");
    assert_eq!(pg_error(&error).sqlstate, "55P02");
}
