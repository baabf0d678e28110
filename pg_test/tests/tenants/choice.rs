//! Who can choose a tenant, and how long the choice lasts.

use crate::server::*;
use postgres::Client;
use serde_json::json;

fn choose(client: &mut Client, tenant: &str) {
    run(client, &format!("SELECT auth.set_tenant('{tenant}')"));
}

fn choose_locally(client: &mut Client, tenant: &str) {
    run(client, &format!("SELECT auth.set_tenant('{tenant}', true)"));
}

/// A session of a user with two tenants.
fn carol(database: &Database) -> Client {
    let mut client = database.app();
    init(&mut client, CAROL);
    client
}

fn assert_none_chosen(client: &mut Client) {
    let error = all_fail(client, "55000");
    assert_eq!(error.message, "no tenant chosen");
    assert!(error.hint.is_some_and(|hint| hint.contains("auth.set_tenant()")));
}

#[test]
fn only_members_choose() {
    let mut client = Database::new("choice_members", USUAL).app();
    for (user, tenant) in [(None, RED), (Some(ALICE), BLUE), (Some(CAROL), ALICE), (Some(CAROL), "x"), (Some("x"), RED)]
    {
        if let Some(user) = user {
            init(&mut client, user);
        }
        let error = refused(&mut client, &format!("SELECT auth.set_tenant('{tenant}')"));
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("42501", "user is not a member of this tenant"));
        assert!(error.hint.is_some_and(|hint| hint.contains("auth.tenant_ids()")));
        assert_eq!(value::<Option<String>>(&mut client, "SELECT nullif(current_setting('pg_jwks.tenant'), '')"), None);
    }
}

#[test]
fn the_setting_cannot_be_forged() {
    let database = Database::new("choice_forged", USUAL);
    let mut client = carol(&database);
    choose(&mut client, RED);
    let red: String = value(&mut client, "SHOW pg_jwks.tenant");
    assert!(red.ends_with(&format!(":{RED}")) && !red.contains(CAROL), "{red}");
    let blue = red.replace(RED, BLUE);
    run(&mut client, "CREATE TEMP TABLE own ()");
    for value in [&blue, &red, BLUE, "x"] {
        for statement in [
            format!("SET pg_jwks.tenant = '{value}'"),
            format!("BEGIN; SET LOCAL pg_jwks.tenant = '{value}'"),
            format!("SELECT set_config('pg_jwks.tenant', '{value}', false)"),
            format!("ALTER ROLE app SET pg_jwks.tenant = '{value}'"),
            format!(
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET pg_jwks.tenant = '{value}' AS 'SELECT 1'"
            ),
            format!("UPDATE pg_settings SET setting = '{value}' WHERE name = 'session_replication_role'"),
        ] {
            assert_eq!(refused(&mut client, &statement).sqlstate, "42501", "{statement}");
            run(&mut client, "ROLLBACK");
        }
    }
    assert_eq!(notes(&mut client), [1, 3]);

    // Until the library is loaded, the name is anybody's; what it then holds is dropped.
    for options in [format!("-c pg_jwks.tenant={blue}"), format!("-c pg_jwks.tenant={RED}")] {
        let mut config = SERVER.config();
        let config = config.user("app").dbname(database.name()).options(&options);
        let mut client = SERVER.try_connect(config).expect("a session");
        init(&mut client, CAROL);
        assert_none_chosen(&mut client);
    }
    let mut client = database.app();
    run(&mut client, &format!("SET pg_jwks.tenant = '{blue}'"));
    init(&mut client, CAROL);
    assert_none_chosen(&mut client);
    let stored = format!("ALTER ROLE other SET pg_jwks.tenant = '{blue}'");
    if database.superuser().batch_execute(&stored).is_ok() {
        let mut client = SERVER.connect("other", database.name());
        init(&mut client, CAROL);
        assert_none_chosen(&mut client);
        run(&mut database.superuser(), "ALTER ROLE other RESET pg_jwks.tenant");
    }
}

/// Not even a choice that was good when the function was made.
#[test]
fn a_function_cannot_keep_a_choice() {
    let mut client = carol(&Database::new("choice_function", USUAL));
    choose(&mut client, RED);
    let kept = "CREATE FUNCTION pg_temp.kept() RETURNS text LANGUAGE sql
                    SET pg_jwks.tenant FROM CURRENT AS 'SELECT auth.tenant_id()'";
    for check in ["on", "off"] {
        let create = format!("SET check_function_bodies = {check}; {kept}");
        assert_eq!(refused(&mut client, &create).sqlstate, "42501");
    }
}

#[test]
fn a_choice_is_the_users_own() {
    let database = Database::new("choice_users", USUAL);
    run(&mut database.dba(), &format!("INSERT INTO users VALUES ('{BOB}', '{RED}')"));
    let mut client = carol(&database);
    choose(&mut client, RED);
    init(&mut client, BOB);
    assert_none_chosen(&mut client);
    init(&mut client, ALICE);
    assert_eq!(notes(&mut client), [1, 3]);
    // The same `sub` of another issuer is another user.
    init_with(&mut client, json!({ "sub": CAROL, "iss": OTHER_ISSUER }));
    assert_none_chosen(&mut client);
    init(&mut client, CAROL);
    assert_eq!(notes(&mut client), [1, 3]);
    client.execute("SELECT auth.jwt_session_init('garbage')", &[]).expect_err("garbage");
    assert_eq!((tenant(&mut client), notes(&mut client)), (None, vec![]));
    assert_eq!(refused(&mut client, &format!("SELECT auth.set_tenant('{RED}')")).sqlstate, "42501");
}

#[test]
fn a_revoked_membership_is_an_error_and_not_another_tenant() {
    let database = Database::new("choice_revoked", USUAL);
    let mut client = carol(&database);
    choose(&mut client, RED);
    run(&mut client, "PREPARE notes AS SELECT id FROM note; EXECUTE notes");
    run(&mut database.dba(), &format!("DELETE FROM users WHERE id = '{CAROL}' AND tenant_id = '{RED}'"));
    let error = all_fail(&mut client, "42501");
    assert_eq!(error.message, "user is no longer a member of the chosen tenant");
    assert!(error.hint.is_some_and(|hint| hint.contains("auth.set_tenant()")));
    assert_eq!(refused(&mut client, "EXECUTE notes").sqlstate, "42501");
    assert_eq!(tenants(&mut client), Some(vec![BLUE.into()]));
    run(&mut client, "SELECT auth.set_tenant(NULL)");
    assert_eq!(notes(&mut client), [2, 4]);
}

#[test]
fn a_choice_lasts_as_settings_do() {
    let database = Database::new("choice_scope", USUAL);
    let mut client = carol(&database);
    run(&mut client, "BEGIN");
    choose_locally(&mut client, RED);
    assert_eq!(notes(&mut client), [1, 3]);
    run(&mut client, "COMMIT");
    assert_none_chosen(&mut client);
    run(&mut client, "BEGIN");
    choose(&mut client, RED);
    assert_eq!(notes(&mut client), [1, 3]);
    run(&mut client, "ROLLBACK");
    assert_none_chosen(&mut client);
    choose(&mut client, RED);
    run(&mut client, "BEGIN; SAVEPOINT s");
    choose(&mut client, BLUE);
    assert_eq!(notes(&mut client), [2, 4]);
    run(&mut client, "ROLLBACK TO s");
    assert_eq!(notes(&mut client), [1, 3]);
    choose_locally(&mut client, BLUE);
    assert_eq!(notes(&mut client), [2, 4]);
    run(&mut client, "COMMIT");
    assert_eq!(notes(&mut client), [1, 3]);
    for statement in
        ["SELECT auth.set_tenant('')", "SELECT auth.set_tenant(NULL)", "RESET pg_jwks.tenant", "DISCARD ALL"]
    {
        choose(&mut client, RED);
        assert_eq!(notes(&mut client), [1, 3]);
        run(&mut client, statement);
        init(&mut client, CAROL);
        assert_none_chosen(&mut client);
    }
    // A refused choice changes nothing.
    choose(&mut client, RED);
    refused(&mut client, &format!("SELECT auth.set_tenant('{ALICE}')"));
    assert_eq!(notes(&mut client), [1, 3]);
}

#[test]
fn a_choice_counts_within_its_own_statement() {
    let mut client = carol(&Database::new("choice_statement", USUAL));
    choose(&mut client, BLUE);
    let seen: Vec<i32> = value(
        &mut client,
        &format!(
            "WITH red AS MATERIALIZED (SELECT auth.set_tenant('{RED}') IS NULL AS done),
                  a AS MATERIALIZED (SELECT array_agg(id ORDER BY id) AS ids FROM note WHERE (SELECT done FROM red) IS NOT NULL)
             SELECT ids FROM a"
        ),
    );
    assert_eq!(seen, [1, 3]);
}

/// As behind a transaction pooler.
#[test]
fn a_local_choice_ends_with_its_local_identity() {
    let database = Database::new("choice_local", USUAL);
    let mut client = database.app();
    for (own, ids) in [(RED, [1, 3]), (BLUE, [2, 4])] {
        run(
            &mut client,
            &format!("BEGIN; SELECT auth.jwt_session_init('{}', true)", token_with(json!({ "sub": CAROL }))),
        );
        choose_locally(&mut client, own);
        assert_eq!(notes(&mut client), ids);
        run(&mut client, "COMMIT");
        assert_eq!((tenant(&mut client), notes(&mut client)), (None, vec![]));
    }
}

#[test]
fn an_expired_identity_has_no_tenant() {
    let mut client = Database::new("choice_expired", USUAL).superuser();
    run(&mut client, "SET pg_jwks.leeway = '300s'");
    init_with(&mut client, json!({ "sub": CAROL, "exp": pg_test::now() - 10 }));
    choose(&mut client, RED);
    run(&mut client, "PREPARE tenant AS SELECT auth.tenant_id(); EXECUTE tenant; SET pg_jwks.leeway = 0");
    for statement in [
        "SELECT auth.tenant_id()",
        "SELECT auth.tenant_ids()",
        "SELECT get_current_user_tenant_id()",
        "EXECUTE tenant",
        &format!("SELECT auth.set_tenant('{RED}')"),
    ] {
        assert_eq!(refused(&mut client, statement).sqlstate, "28000", "{statement}");
    }
}
