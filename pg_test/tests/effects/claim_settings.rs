//! `pg_jwks.claim_settings`: variables for policies that read `current_setting()`.

use postgres::Client;
use serde_json::{Value, json};

use crate::server::*;

const VARIABLES: [&str; 4] = ["app.user_id", "app.tenant_id", "app.roles", "request.jwt.claims"];

fn alice() -> String {
    token(json!({ "org": { "id": 7 }, "https://x.example/roles": ["admin", "writer"], "name": "Zo\u{eb}" }))
}

#[track_caller]
fn shown(client: &mut Client, name: &str) -> String {
    let both: (String, String) = {
        let row = client.query_one("SELECT current_setting($1), current_setting($1, true)", &[&name]).expect(name);
        (row.get(0), row.get(1))
    };
    assert_eq!(both.0, both.1);
    both.0
}

#[test]
fn variables_show_the_claims() {
    let mut client = app(&database("shown", &[]));
    for name in VARIABLES {
        assert_eq!(shown(&mut client, name), "", "{name} without identity");
    }
    init(&mut client, &alice());
    assert_eq!(shown(&mut client, "app.user_id"), "alice");
    assert_eq!(shown(&mut client, "app.tenant_id"), "7");
    assert_eq!(shown(&mut client, "app.roles"), r#"["admin","writer"]"#);
    let all: Value = serde_json::from_str(&shown(&mut client, "request.jwt.claims")).expect("JSON");
    assert_eq!((&all["sub"], &all["name"]), (&json!("alice"), &json!("Zo\u{eb}")));
    init(&mut client, &token(json!({ "sub": "bob" })));
    assert_eq!(shown(&mut client, "app.user_id"), "bob");
    assert_eq!(shown(&mut client, "app.tenant_id"), "", "a claim that is missing");
}

#[test]
fn variables_change_with_the_identity() {
    let mut client = app(&database("changes", &[]));
    init(&mut client, &alice());
    run(&mut client, "BEGIN");
    try_init(&mut client, &token(json!({ "sub": "bob" })), true).expect("bob");
    assert_eq!(shown(&mut client, "app.user_id"), "bob");
    run(&mut client, "COMMIT");
    assert_eq!(shown(&mut client, "app.user_id"), "alice");
    run(&mut client, "BEGIN");
    init(&mut client, &token(json!({ "sub": "bob" })));
    run(&mut client, "ROLLBACK");
    assert_eq!(shown(&mut client, "app.user_id"), "alice");
    run(&mut client, "RESET ALL");
    assert_eq!(shown(&mut client, "app.user_id"), "");
    for end in ["SELECT auth.jwt_session_clear()", "DISCARD ALL"] {
        init(&mut client, &alice());
        run(&mut client, end);
        assert_eq!(shown(&mut client, "app.user_id"), "", "{end}");
    }
    init(&mut client, &alice());
    assert!(try_init(&mut client, "bad", false).is_err());
    for name in VARIABLES {
        assert_eq!(shown(&mut client, name), "", "{name} after a failed init");
    }
}

#[test]
fn nobody_can_set_a_variable() {
    let database = database("unsettable", &[]);
    for user in ["app", "postgres"] {
        let mut client = server().connect(user, &database);
        init(&mut client, &alice());
        for name in VARIABLES {
            for way in [
                format!("SET {name} = 'evil'"),
                format!("SET LOCAL {name} = 'evil'"),
                format!("SELECT set_config('{name}', 'evil', true)"),
                format!("SELECT set_config('{}', 'evil', false)", name.to_uppercase()),
                format!("ALTER ROLE {user} SET {name} = 'evil'"),
                format!("CREATE FUNCTION f() RETURNS text SET {name} = 'evil' LANGUAGE sql AS 'SELECT 1'"),
            ] {
                assert_eq!(refused(&mut client, &way).sqlstate, "55P02", "{way}");
            }
        }
        assert_eq!(shown(&mut client, "app.user_id"), "alice");
    }
    let mut config = server().config();
    config.user("app").dbname(&database).options("-c app.user_id=evil");
    let refused = server().try_connect(&mut config).map(drop).expect_err("a connection option is refused");
    assert_eq!(pg_test::pg_error(&refused).sqlstate, "55P02");
}

#[test]
fn policies_on_variables_keep_users_apart() {
    let database = database("policies", &[]);
    run(
        &mut server().connect("postgres", &database),
        "CREATE TABLE note (owner text); INSERT INTO note SELECT ('{alice,bob}'::text[])[n % 2 + 1] FROM generate_series(1, 20000) n;
         ANALYZE note; ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON note USING (owner = current_setting('app.user_id'));
         GRANT ALL ON note TO app;",
    );
    let mut client = app(&database);
    run(
        &mut client,
        "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off",
    );
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 0);
    for sub in ["alice", "bob"] {
        init(&mut client, &token(json!({ "sub": sub })));
        let plan: Value = value(&mut client, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT owner FROM note");
        assert!(plan[0]["Plan"]["Workers Launched"].as_i64() > Some(0), "{plan}");
        assert_eq!(plan[0]["Plan"]["Actual Rows"].as_f64(), Some(10_000.0));
        let others = format!("INSERT INTO note VALUES ('not {sub}')");
        assert_eq!(refused(&mut client, &others).sqlstate, "42501");
    }
}

#[test]
fn an_expired_identity_is_an_error() {
    let mut client = app(&database("expired", &[("leeway", "0")]));
    init(&mut client, &token(json!({ "exp": pg_test::now() + 2 })));
    assert_eq!(shown(&mut client, "app.user_id"), "alice");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let error = refused(&mut client, "SELECT current_setting('app.user_id')");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT has expired"));
}

#[test]
fn other_encodings_get_their_own_bytes_or_an_error() {
    server().create_database("latin", "LATIN1");
    run(&mut server().connect("postgres", "latin"), "CREATE EXTENSION pg_jwks");
    let mut client = app("latin");
    init(&mut client, &token(json!({ "sub": "Zo\u{eb}" })));
    assert_eq!(shown(&mut client, "app.user_id"), "Zo\u{eb}");
    assert_eq!(value::<i32>(&mut client, "SELECT octet_length(current_setting('app.user_id'))"), 3);
}

#[test]
fn without_preloading_a_warning_says_why_the_variables_are_not_defined() {
    let cluster = options()
        .setting("session_preload_libraries", "pg_jwks")
        .setting("pg_jwks.claim_settings", "app.user_id=sub")
        .start();
    create_roles(&cluster);
    let mark = cluster.log_mark();
    let mut client = cluster.connect("app", "template1");
    init(&mut client, &token(json!({})));
    let log = cluster.log_since(mark);
    assert!(log.contains("WARNING:  pg_jwks.claim_settings has no effect"), "{log}");
    assert!(log.contains("DETAIL:  The library is not preloaded, so a session could set these variables"), "{log}");
    let missing: Option<String> = value(&mut client, "SELECT current_setting('app.user_id', true)");
    assert_eq!(missing, None);
}

#[test]
fn a_value_in_the_configuration_file_is_dropped() {
    let cluster = options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("app.user_id", "evil")
        .setting("pg_jwks.claim_settings", "app.user_id=sub")
        .start();
    create_roles(&cluster);
    let mut client = cluster.connect("app", "template1");
    assert_eq!(shown(&mut client, "app.user_id"), "");
    init(&mut client, &token(json!({})));
    assert_eq!(shown(&mut client, "app.user_id"), "alice");
}
