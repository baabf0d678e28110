//! `rls_examples/from_role_mapping_proxy`.

use std::sync::LazyLock;

use pg_test::documents::Page;
use pg_test::{Alg, Credentials, RawClient, Refused};
use serde_json::{Value, json};

use crate::checks::{Guarded, assert_ends};
use crate::migration::*;

static EXAMPLE: LazyLock<Example> = LazyLock::new(set_up);

fn set_up() -> Example {
    let example = Example::start("from_role_mapping_proxy", Alg::Rs256).with_jwks();
    example.run("schema.sql");
    example.run("policies.sql");
    example
}

const NAMES: &str = "SELECT name FROM projects ORDER BY id";

fn claims(user: &str, org: &str, roles: Value) -> Value {
    json!({ "sub": format!("auth0|{user}"), "https://gprxy.io/org_id": org, "https://gprxy.io/roles": roles })
}

fn alice() -> Value {
    claims("alice", "org_acme", json!(["writer", "reader"]))
}

#[test]
fn roles_and_tenants_come_from_the_token() {
    for (claims, role, names) in [
        (alice(), "app_writer", vec!["Apollo", "Artemis"]),
        (claims("arthur", "org_acme", json!(["reader"])), "app_reader", vec!["Apollo", "Artemis"]),
        (claims("bob", "org_globex", json!(["reader", "admin", "x"])), "app_admin", vec!["Borg"]),
        (claims("eve", "org_none", json!(["admin"])), "app_admin", vec![]),
    ] {
        let mut client = EXAMPLE.session_with("gateway", claims.clone());
        assert_eq!(value::<String>(&mut client, "SELECT current_user::text"), role, "{claims}");
        assert_eq!(visible(&mut client, NAMES), names, "{claims}");
    }
    let mut client = EXAMPLE.session_with("gateway", alice());
    let shown: String = value(&mut client, "SELECT current_setting('app.roles')");
    assert_eq!(shown, r#"["writer","reader"]"#);
}

#[test]
fn no_way_of_reading_shows_another_tenant() {
    let bob = claims("bob", "org_globex", json!(["writer"]));
    assert_every_way(&mut EXAMPLE.session_with("gateway", alice()), "projects", "name", &["Apollo", "Artemis"]);
    assert_every_way(&mut EXAMPLE.session_with("gateway", bob.clone()), "projects", "name", &["Borg"]);
    let users: [(Value, &[&str]); 2] = [(alice(), &["Apollo", "Artemis"]), (bob, &["Borg"])];
    EXAMPLE.assert_a_connection_can_be_shared("gateway", NAMES, users);
}

#[test]
fn writes_need_the_role_and_stay_within_the_tenant() {
    let mut writer = EXAMPLE.session_with("gateway", alice());
    writer.batch_execute("BEGIN").expect("a transaction");
    let insert = "INSERT INTO projects (name) VALUES ('Ares') RETURNING tenant_id || ' ' || owner";
    assert_eq!(value::<String>(&mut writer, insert), "org_acme auth0|alice");
    writer.batch_execute("ROLLBACK").expect("a transaction");
    assert_eq!(refused(&mut writer, "INSERT INTO projects VALUES (DEFAULT, 'org_globex', 'x', 'x')"), "42501");
    assert_eq!(refused(&mut writer, "UPDATE projects SET tenant_id = 'org_globex'"), "42501");
    let upsert = "INSERT INTO projects OVERRIDING SYSTEM VALUE VALUES (3, 'org_acme', 'auth0|alice', 'x')
                      ON CONFLICT (id) DO UPDATE SET name = 'x'";
    assert_eq!(refused(&mut writer, upsert), "42501");
    assert_eq!(changed(&mut writer, "UPDATE projects SET name = 'x' WHERE tenant_id = 'org_globex'"), 0);
    assert_eq!(changed(&mut writer, "UPDATE projects SET name = 'Apollo'"), 1, "her own, not Arthur's");
    assert_eq!(refused(&mut writer, "DELETE FROM projects"), "42501");
    assert!(visible(&mut writer, "SELECT amount::text FROM invoices").is_empty());

    let mut reader = EXAMPLE.session_with("gateway", claims("ray", "org_acme", json!("reader")));
    assert_eq!(refused(&mut reader, "INSERT INTO projects (name) VALUES ('x')"), "42501");

    let mut admin = EXAMPLE.session_with("gateway", claims("bob", "org_globex", json!(["admin"])));
    assert_eq!(visible(&mut admin, "SELECT amount::text FROM invoices"), ["200"]);
    assert_eq!(changed(&mut admin, "DELETE FROM projects WHERE tenant_id = 'org_acme'"), 0);
}

/// What a role gives is bounded by the claims that the policies ask.
#[test]
fn a_role_taken_by_hand_shows_no_other_tenant() {
    let mut client = EXAMPLE.session_with("gateway", claims("arthur", "org_acme", json!(["reader"])));
    client.batch_execute("SET ROLE app_admin").expect("gateway is a member");
    assert_eq!(visible(&mut client, NAMES), ["Apollo", "Artemis"]);
    assert!(visible(&mut client, "SELECT amount::text FROM invoices").is_empty());
    for role in ["postgres", "pg_read_all_data"] {
        assert_eq!(refused(&mut client, &format!("SET ROLE {role}")), "42501");
    }
    let mut client = EXAMPLE.session("gateway");
    client.batch_execute("SET ROLE app_admin").expect("gateway is a member");
    assert!(visible(&mut client, NAMES).is_empty());
}

#[test]
fn without_identity_there_are_no_rights() {
    let mut client = EXAMPLE.session("gateway");
    for statement in [NAMES, "SELECT * FROM invoices", "INSERT INTO projects VALUES (DEFAULT, 'org_acme', 'x', 'x')"] {
        assert_eq!(refused(&mut client, statement), "42501", "{statement}");
    }
    client.batch_execute("BEGIN").expect("a transaction");
    try_init(&mut client, &EXAMPLE.token(alice()), true).expect("a good token");
    assert_eq!(visible(&mut client, NAMES), ["Apollo", "Artemis"]);
    client.batch_execute("COMMIT").expect("a transaction");
    assert_eq!(refused(&mut client, NAMES), "42501");
}

#[test]
fn the_policies_hold_alone() {
    let example = set_up();
    Guarded {
        connect: &|role| example.session(role),
        login: "gateway",
        role: "app_admin",
        token: example.token(claims("ann", "org_acme", json!(["admin"]))),
        homeless: example.token(json!({ "sub": "auth0|eve", "https://gprxy.io/roles": ["admin"] })),
        table: "projects",
        home: "tenant_id",
        item: "name",
        own: &["Apollo", "Artemis"],
        other: "Borg",
    }
    .assert_policies_hold();
}

#[test]
fn an_identity_ends_with_its_token() {
    let (mut client, end) = EXAMPLE.ending_session("gateway", claims("alice", "org_acme", json!(["admin"])));
    let statements = [
        NAMES,
        "SELECT amount FROM invoices",
        "INSERT INTO projects (name) VALUES ('Ares')",
        "UPDATE projects SET name = 'x'",
        "DELETE FROM projects",
        "SELECT current_setting('app.user_id')",
        "SELECT current_setting('app.roles')::jsonb",
        "SHOW app.tenant_id",
        "SELECT auth.has_role('admin')",
    ];
    assert_ends(&mut client, end, &statements);
}

#[test]
fn nothing_is_unsafe_by_lint() {
    assert_safe_by_lint(&EXAMPLE);
}

#[test]
fn bad_tokens_are_refused() {
    EXAMPLE.assert_bad_tokens_refused("gateway", &alice(), NAMES);
    for roles in [json!([]), json!(["app_admin"]), json!("Admin"), json!({ "admin": true }), Value::Null] {
        let mut client = EXAMPLE.session_with("gateway", alice());
        let token = EXAMPLE.token(claims("alice", "org_acme", roles.clone()));
        let error = try_init(&mut client, &token, false).expect_err("no role of the map");
        assert_eq!(error.sqlstate, "28000", "{roles}");
        assert_eq!(refused(&mut client, NAMES), "42501", "{roles}");
    }
}

#[test]
fn the_variables_belong_to_the_token() {
    assert_unsettable(&EXAMPLE, "gateway", &["app.user_id", "app.tenant_id", "app.roles"]);
}

/// The line of `pg_hba.conf` that the README has, but for TLS, on a server that would let everybody else in.
fn logins() -> Vec<String> {
    Page::of_repository("rls_examples/from_role_mapping_proxy/README.md").blocks("Logging in with the token", "")
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn people_log_in_with_their_tokens_as_passwords() {
    let example = Example::start("from_role_mapping_proxy", Alg::Rs256).with_system_jwks();
    example.run("schema.sql");
    example.run("policies.sql");
    example.open_password_door(&logins()[..2]);
    assert_people_log_in(&example, |role, token| example.log_in(role, token));
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn people_log_in_with_their_tokens_by_oauth() {
    let example =
        Example::start_with("from_role_mapping_proxy", Alg::Rs256, &[("oauth_validator_libraries", "pg_jwks")])
            .with_system_jwks();
    example.run("schema.sql");
    example.run("policies.sql");
    let line = logins()[2].replace("hostssl", "host");
    example.cluster.write_file("pg_hba.conf", &format!("{line}\nlocal all all trust\nhost all all all trust\n"));
    example.cluster.restart();
    assert_people_log_in(&example, |role, token| {
        RawClient::connect(&example.cluster, role, "app", Credentials::Bearer(token))
    });
}

fn assert_people_log_in(example: &Example, log_in: impl Fn(&str, &str) -> Result<RawClient, Refused>) {
    let token = |user: &str, org: &str, roles: Value| {
        let mut claims = claims(user, org, roles);
        claims["scope"] = json!("openid profile");
        claims
    };
    let alice = token("alice", "org_acme", json!(["writer", "reader"]));
    let names = "SELECT string_agg(name, ' ' ORDER BY name) FROM projects";
    for (claims, role, seen) in [
        (alice.clone(), "app_writer", "Apollo Artemis"),
        (alice.clone(), "app_reader", "Apollo Artemis"),
        (token("bob", "org_globex", json!("admin")), "app_admin", "Borg"),
    ] {
        let mut client = log_in(role, &example.token(claims.clone())).expect("a role of the token");
        assert_eq!(client.value("SELECT current_user").as_deref(), Some(role));
        assert_eq!(client.value(names).as_deref(), Some(seen), "{claims}");
        client.query("SET app.tenant_id = 'org_globex'").expect_err("the variables belong to the token");
        client.query("DISCARD ALL").expect("back to the login");
        assert_eq!(client.value(names).as_deref(), Some(seen), "{claims}");
    }
    let mut writer = log_in("app_writer", &example.token(alice.clone())).expect("a role of the token");
    assert_eq!(writer.value("UPDATE projects SET name = name RETURNING owner").as_deref(), Some("auth0|alice"));
    writer.query("UPDATE projects SET tenant_id = 'org_globex'").expect_err("another tenant's row");

    assert!(log_in("app_admin", &example.token(alice.clone())).is_err(), "a role that the token does not name");
    assert!(log_in("app_writer", &example.token(claims("alice", "org_acme", json!("writer")))).is_err(), "no scope");
    for bad in example.bad_tokens(&alice) {
        assert!(log_in("app_writer", &bad).is_err(), "{bad}");
    }
}
