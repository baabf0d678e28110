//! `rls_examples/from_proxy_variables`.

use std::sync::LazyLock;

use pg_test::documents::Page;
use pg_test::{Alg, Issuer, Requests};
use serde_json::{Value, json};

use crate::checks::{Guarded, assert_ends};
use crate::migration::*;

fn started() -> Example {
    Example::start("from_proxy_variables", Alg::Rs256)
}

fn set_up(example: Example) -> Example {
    example.run("schema.sql");
    example.run("policies.sql");
    example
}

static EXAMPLE: LazyLock<Example> = LazyLock::new(|| set_up(started().with_pem()));

const ITEMS: &str = "SELECT item FROM orders ORDER BY id";

fn claims(user: &str, tenant: i32, branch: &str, level: i32) -> Value {
    json!({ "sub": user, "user_id": user, "tenant_id": tenant, "branch_id": branch, "permission_level": level,
            "read_only": false })
}

fn alice() -> Value {
    claims("alice", 1, "main", 2)
}

fn bob() -> Value {
    claims("bob", 2, "main", 3)
}

#[test]
fn policies_see_the_claims() {
    let mut client = EXAMPLE.session_with("app", alice());
    assert_eq!(visible(&mut client, ITEMS), ["anvil"]);
    assert_eq!(visible(&mut client, "SELECT theme FROM settings"), ["dark"]);
    let mut client = EXAMPLE.session_with("app", bob());
    assert_eq!(visible(&mut client, ITEMS), ["lamp", "rug"]);
    assert_eq!(visible(&mut client, "SELECT theme FROM settings"), ["light"]);
    let mut client = EXAMPLE.session_with("app", claims("ann", 1, "none", 3));
    assert_eq!(visible(&mut client, ITEMS), ["anvil", "rope"], "level 3 sees all branches");
    let variables = "SELECT concat_ws(',', current_setting('orochi.user_id'), current_setting('orochi.tenant_id'),
        current_setting('orochi.branch_id'), current_setting('orochi.permission_level'), current_setting('orochi.read_only'))";
    assert_eq!(value::<String>(&mut client, variables), "ann,1,none,3,false");
}

#[test]
fn no_way_of_reading_shows_another_tenant() {
    assert_every_way(&mut EXAMPLE.session_with("app", alice()), "orders", "item", &["anvil"]);
    assert_every_way(&mut EXAMPLE.session_with("app", bob()), "orders", "item", &["lamp", "rug"]);
    EXAMPLE.assert_a_connection_can_be_shared("app", ITEMS, [(alice(), &["anvil"]), (bob(), &["lamp", "rug"])]);
}

#[test]
fn writes_stay_within_the_tenant() {
    let mut client = EXAMPLE.session_with("app", alice());
    client.batch_execute("BEGIN").expect("a transaction");
    let insert = "INSERT INTO orders (tenant_id, branch_id, item) VALUES (1, 'main', 'nail') RETURNING placed_by";
    assert_eq!(value::<String>(&mut client, insert), "alice");
    client.batch_execute("ROLLBACK").expect("a transaction");
    for other in [
        "INSERT INTO orders (tenant_id, branch_id, item) VALUES (2, 'main', 'nail')",
        "INSERT INTO orders (tenant_id, branch_id, item) VALUES (1, 'east', 'nail')",
        "UPDATE orders SET tenant_id = 2",
        "INSERT INTO settings VALUES (3, 'dark')",
        "INSERT INTO settings VALUES (2, 'dark') ON CONFLICT (tenant_id) DO UPDATE SET theme = 'dark'",
        "INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT 3, 1, 'main', 'alice', 'x'
             ON CONFLICT (id) DO UPDATE SET item = 'x'",
        "MERGE INTO settings USING (VALUES (2)) v ON tenant_id = v.column1
             WHEN NOT MATCHED THEN INSERT VALUES (2, 'dark')",
    ] {
        assert_eq!(refused(&mut client, other), "42501", "{other}");
    }
    for others in [
        "UPDATE orders SET item = 'x' WHERE tenant_id = 2",
        "UPDATE orders SET item = 'x' WHERE branch_id = 'east'",
        "DELETE FROM orders",
        "DELETE FROM settings WHERE tenant_id = 2",
    ] {
        assert_eq!(changed(&mut client, others), 0, "{others}");
    }
    let mut reader = EXAMPLE.session_with("app", claims("ray", 1, "main", 1));
    assert_eq!(
        refused(&mut reader, "INSERT INTO orders (tenant_id, branch_id, item) VALUES (1, 'main', 'x')"),
        "42501"
    );
    assert_eq!(changed(&mut reader, "UPDATE orders SET item = 'x'"), 0);
}

#[test]
fn a_read_only_token_writes_nothing() {
    let mut claims = bob();
    claims["read_only"] = json!(true);
    let mut client = EXAMPLE.session_with("app", claims);
    assert_eq!(visible(&mut client, ITEMS), ["lamp", "rug"]);
    for statement in ["UPDATE orders SET item = 'x'", "DELETE FROM orders"] {
        assert_eq!(refused(&mut client, statement), "25006", "{statement}");
    }
}

#[test]
fn the_variables_belong_to_the_token() {
    let names = ["user_id", "tenant_id", "branch_id", "permission_level", "read_only"];
    assert_unsettable(&EXAMPLE, "app", &names.map(|name| format!("orochi.{name}")).each_ref().map(String::as_str));
}

#[test]
fn without_identity_there_are_no_rows() {
    let mut client = EXAMPLE.session("app");
    assert!(visible(&mut client, ITEMS).is_empty());
    assert_eq!(refused(&mut client, "SELECT * FROM settings"), "22P02", "a cast without nullif");
    assert_eq!(changed(&mut client, "DELETE FROM orders"), 0);
    assert_eq!(
        refused(&mut client, "INSERT INTO orders (tenant_id, branch_id, item) VALUES (1, 'main', 'x')"),
        "42501"
    );

    let mut client = EXAMPLE.session_with("app", alice());
    client.batch_execute("SELECT auth.jwt_session_clear()").expect("no identity");
    assert!(visible(&mut client, ITEMS).is_empty());

    // Behind a transaction pooler.
    client.batch_execute("BEGIN").expect("a transaction");
    try_init(&mut client, &EXAMPLE.token(alice()), true).expect("a good token");
    assert_eq!(visible(&mut client, ITEMS), ["anvil"]);
    client.batch_execute("COMMIT").expect("a transaction");
    assert!(visible(&mut client, ITEMS).is_empty());
}

#[test]
fn nothing_is_unsafe_by_lint() {
    assert_safe_by_lint(&EXAMPLE);
}

#[test]
fn bad_tokens_are_refused() {
    EXAMPLE.assert_bad_tokens_refused("app", &alice(), ITEMS);
}

#[test]
fn the_policies_hold_alone() {
    let example = set_up(started().with_pem());
    Guarded {
        connect: &|role| example.session(role),
        login: "app",
        role: "app",
        token: example.token(claims("ann", 1, "main", 3)),
        homeless: example.token(json!({ "sub": "eve", "branch_id": "main", "permission_level": 3 })),
        table: "orders",
        home: "tenant_id",
        item: "item",
        own: &["anvil", "rope"],
        other: "lamp",
    }
    .assert_policies_hold();
}

#[test]
fn an_identity_ends_with_its_token() {
    let (mut client, end) = EXAMPLE.ending_session("app", claims("ann", 1, "main", 3));
    let statements = [
        ITEMS,
        "SELECT theme FROM settings",
        "INSERT INTO orders (tenant_id, branch_id, item) VALUES (1, 'main', 'nail')",
        "UPDATE orders SET item = 'x'",
        "DELETE FROM orders",
        "SELECT current_setting('orochi.user_id')",
        "SELECT current_setting('orochi.tenant_id', true)::integer",
        "SHOW orochi.read_only",
        "SELECT auth.claim('branch_id')",
    ];
    assert_ends(&mut client, end, &statements);
}

#[test]
fn the_pem_may_be_at_a_url() {
    let origin = Issuer::start();
    let example = set_up(started().with_pem_at_url(&origin));
    assert_eq!(visible(&mut example.session_with("app", alice()), ITEMS), ["anvil"]);
    example.assert_bad_tokens_refused("app", &alice(), ITEMS);
    // Once more for the forged token: PEM has no kid, so its key might have been a new one.
    assert_eq!(origin.requests(), Requests { discovery: 0, jwks: 2 });
}

/// With the connection string that the application had, as the role that all have.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn the_token_can_be_the_password() {
    let example = started().with_system_pem();
    let example = set_up(example);
    let page = Page::of_repository("rls_examples/from_proxy_variables/README.md");
    example.open_password_door(&page.blocks("The token as the password", ""));
    for (claims, seen) in [(alice(), "anvil"), (bob(), "lamp rug")] {
        let mut client = example.log_in("app", &example.token(claims)).expect("a good token");
        let items = "SELECT string_agg(item, ' ' ORDER BY id) FROM orders";
        assert_eq!(client.value(items).as_deref(), Some(seen));
        client.query("DISCARD ALL").expect("back to the login");
        assert_eq!(client.value(items).as_deref(), Some(seen));
        client.query("SET orochi.tenant_id = '2'").expect_err("the variables belong to the token");
    }
    for bad in example.bad_tokens(&alice()) {
        assert!(example.log_in("app", &bad).is_err(), "{bad}");
    }
    assert!(example.log_in("postgres", &example.token(alice())).is_ok(), "others log in as before");
}
