//! Memberships in a table.

use crate::server::*;

#[test]
fn the_tenant_is_the_users() {
    let database = Database::new("usual", USUAL);
    let mut client = database.app();
    assert_eq!((tenant(&mut client), tenants(&mut client), notes(&mut client)), (None, None, vec![]));
    for (user, own, ids) in [(ALICE, RED, [1, 3]), (BOB, BLUE, [2, 4])] {
        init(&mut client, user);
        assert_eq!(tenant(&mut client).as_deref(), Some(own));
        assert_eq!(tenants(&mut client), Some(vec![own.into()]));
        assert_eq!(notes(&mut client), ids);
    }
    for nobody in ["nobody", " ", "7ed00000-0000-4000-8000-00000000000a"] {
        init(&mut client, nobody);
        assert_eq!((tenant(&mut client), tenants(&mut client), notes(&mut client)), (None, Some(vec![]), vec![]));
        assert_eq!(client.execute("UPDATE note SET id = 9", &[]).expect("an update"), 0);
        assert_eq!(refused(&mut client, &format!("INSERT INTO note VALUES (9, '{RED}')")).sqlstate, "42501");
    }
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!((tenant(&mut client), notes(&mut client)), (None, vec![]));
}

#[test]
fn writes_stay_in_the_tenant() {
    let database = Database::new("writes", USUAL);
    let mut client = database.app();
    init(&mut client, ALICE);
    run(&mut client, "INSERT INTO note (id) VALUES (6)");
    for statement in [
        format!("INSERT INTO note VALUES (7, '{BLUE}')"),
        "INSERT INTO note VALUES (7, NULL)".into(),
        format!("UPDATE note SET tenant_id = '{BLUE}' WHERE id = 1"),
        "UPDATE note SET tenant_id = NULL".into(),
    ] {
        assert_eq!(refused(&mut client, &statement).sqlstate, "42501", "{statement}");
    }
    assert_eq!(client.execute("DELETE FROM note WHERE id IN (2, 4, 5)", &[]).expect("a delete"), 0);
    assert_eq!(notes(&mut client), [1, 3, 6]);
    assert_eq!(value::<i64>(&mut database.dba(), "SELECT count(*) FROM note"), 6);
}

#[test]
fn several_memberships_need_a_choice() {
    let database = Database::new("several", USUAL);
    let mut client = database.app();
    init(&mut client, CAROL);
    assert_eq!(tenants(&mut client), Some(vec![RED.into(), BLUE.into()]));
    let error = all_fail(&mut client, "55000");
    assert_eq!(error.message, "no tenant chosen");
    assert!(error.hint.is_some_and(|hint| hint.contains("auth.set_tenant()")));
    for (own, ids) in [(BLUE, [2, 4]), (RED, [1, 3])] {
        run(&mut client, &format!("SELECT auth.set_tenant('{own}')"));
        assert_eq!(notes(&mut client), ids);
        assert_eq!(tenants(&mut client).map(|tenants| tenants.len()), Some(2));
    }
}

/// The plan with an index is that of the literal.
#[test]
fn plans_are_those_of_a_literal() {
    let schema = format!(
        "{USUAL} CREATE TABLE big AS SELECT n, md5((n % 100)::text)::uuid AS tenant_id FROM generate_series(1, 20000) n;
         UPDATE big SET tenant_id = '{RED}' WHERE n % 100 = 0; CREATE INDEX ON big (tenant_id); ANALYZE big;
         GRANT SELECT ON big TO app, other; ALTER TABLE big ENABLE ROW LEVEL SECURITY;
         CREATE POLICY helper ON big TO app USING (tenant_id = get_current_user_tenant_id());
         CREATE POLICY literal ON big TO other USING (tenant_id = '{RED}')"
    );
    let database = Database::new("plans", &schema);
    let plan = |client: &mut postgres::Client| {
        let lines = client.query("EXPLAIN SELECT n FROM big", &[]).expect("EXPLAIN");
        lines.iter().map(|line| line.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
    };
    let mut app = database.app();
    init(&mut app, ALICE);
    let (helper, literal) = (plan(&mut app), plan(&mut SERVER.connect("other", database.name())));
    assert!(helper.contains("Index Cond: (tenant_id = get_current_user_tenant_id())"), "{helper}");
    let shape = |plan: &str| plan.replace(&format!("'{RED}'::uuid"), "get_current_user_tenant_id()");
    let rows = |plan: &str| plan.split("rows=").nth(1).and_then(|rest| rest.split(' ').next().map(str::to_owned));
    let without_costs = |plan: &str| {
        plan.lines().map(|line| line.split("  (cost").next().unwrap_or(line).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(without_costs(&shape(&helper)), without_costs(&shape(&literal)));
    assert_eq!(rows(&helper), rows(&literal));
}
