//! Two tenants in one isolated table, as a plain role and as the table's owner.

use std::io::Read;

use crate::server::*;
use serde_json::Value;

/// A database with an isolated table `item (id, tenant, body)` of the role `owner`, one row of each tenant in it, and
/// all rights for the role `app`.
fn items(name: &str, column: &str, tenants: [&str; 2]) -> Database {
    let database = Database::new(name);
    let [a, b] = tenants;
    database.connect("owner").run(&format!(
        "CREATE DOMAIN tenant AS uuid;
         CREATE TABLE item (id int PRIMARY KEY, tenant {column} NOT NULL, body text);
         CREATE INDEX ON item (tenant);
         INSERT INTO item VALUES (1, '{a}', 'a'), (2, '{b}', 'b');
         GRANT ALL ON item TO app;
         SELECT auth.enable_tenant_isolation('item', 'tenant');"
    ));
    database
}

fn ids(session: &mut Session) -> Vec<String> {
    session.column("SELECT id FROM item ORDER BY id")
}

/// Everything that a role can do to the table, when it is not a superuser.
fn isolates(database: &Database, user: &str, tenants: [&str; 2]) {
    let [a, b] = tenants;
    let mut session = database.connect(user);
    assert!(ids(&mut session).is_empty(), "no identity, no rows");
    assert_eq!(session.refused("INSERT INTO item (id) VALUES (3)").sqlstate, "42501");
    assert_eq!(session.refused(&format!("INSERT INTO item VALUES (3, '{a}')")).sqlstate, "42501");
    assert_eq!(session.client.execute("DELETE FROM item", &[]).expect("DELETE"), 0);

    session.log_in(a);
    assert_eq!(ids(&mut session), ["1"]);
    session.run("INSERT INTO item (id, body) VALUES (3, 'mine')");
    assert_eq!(session.column("SELECT tenant FROM item WHERE id = 3"), [a]);
    for statement in [
        format!("INSERT INTO item VALUES (4, '{b}')"),
        format!("INSERT INTO item VALUES (4, '{b}') RETURNING id"),
        format!("INSERT INTO item VALUES (4, '{b}') ON CONFLICT DO NOTHING"),
        format!("INSERT INTO item VALUES (1, '{a}') ON CONFLICT (id) DO UPDATE SET tenant = '{b}'"),
        "INSERT INTO item VALUES (2) ON CONFLICT (id) DO UPDATE SET body = 'taken'".to_owned(),
        format!("INSERT INTO item VALUES (2, '{b}') ON CONFLICT (id) DO UPDATE SET tenant = '{a}'"),
        format!("UPDATE item SET tenant = '{b}' WHERE id = 1"),
        format!("UPDATE item SET tenant = '{b}'"),
    ] {
        assert_eq!(session.refused(&statement).sqlstate, "42501", "{statement}");
    }
    assert_eq!(session.refused("INSERT INTO item VALUES (4, NULL)").sqlstate, "42501");
    assert_eq!(session.refused("UPDATE item SET tenant = NULL").sqlstate, "42501");
    for nothing in [
        format!("UPDATE item SET tenant = '{a}' WHERE id = 2"),
        "UPDATE item SET body = 'x' WHERE id = 2".into(),
        "DELETE FROM item WHERE id = 2".into(),
        "SELECT FROM item WHERE id = 2 FOR UPDATE".into(),
        "SELECT FROM item i JOIN item j ON j.id <> i.id WHERE j.body = 'b'".into(),
    ] {
        assert_eq!(session.client.execute(&nothing, &[]).expect(&nothing), 0, "{nothing}");
    }
    session.run("INSERT INTO item (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET body = 'again'");
    let updated = session.client.query("UPDATE item SET body = 'all' RETURNING id", &[]).expect("UPDATE");
    assert_eq!(updated.len(), 2);

    let mut copied = String::new();
    session.client.copy_out("COPY item (id) TO STDOUT").expect("COPY").read_to_string(&mut copied).expect("text");
    assert_eq!(copied, "1\n3\n");
    // COPY FROM is refused by PostgreSQL itself on tables with row-level security.
    assert_eq!(session.refused("COPY item (id) FROM STDIN").sqlstate, "0A000");

    session.log_in(b);
    assert_eq!(ids(&mut session), ["2"]);
    assert_eq!(session.column("SELECT body FROM item"), ["b"]);
    session.log_in(a);
    session.run("DELETE FROM item WHERE id = 3; UPDATE item SET body = 'a'; SELECT auth.jwt_session_clear()");
    assert!(ids(&mut session).is_empty());
    assert_eq!(ids(&mut database.superuser()), ["1", "2"]);
}

#[test]
fn columns_of_each_type_isolate() {
    for (name, column, tenants) in [
        ("type_uuid", "uuid", [A, B]),
        ("type_text", "text", ["acme", "a \"B\" %I"]),
        ("type_varchar", "varchar(40)", ["acme", "ACME"]),
        ("type_domain", "tenant", [A, B]),
        ("type_smallint", "smallint", ["1", "2"]),
        ("type_int", "int", ["1", "-2"]),
        ("type_bigint", "bigint", ["1", "9007199254740993"]),
    ] {
        let database = items(name, column, tenants);
        isolates(&database, "app", tenants);
        isolates(&database, "owner", tenants);
    }
}

#[test]
fn a_tenant_that_is_no_number_sees_nothing_of_numbered_ones() {
    let database = items("no_number", "int", ["1", "2"]);
    let mut session = database.connect("app");
    for (tenant, sqlstate) in [("acme", "22P02"), ("1 OR true", "22P02"), ("1.5", "22P02"), ("99999999999", "22003")] {
        session.log_in(tenant);
        for statement in ["SELECT * FROM item", "UPDATE item SET body = 'x'", "INSERT INTO item (id) VALUES (3)"] {
            assert_eq!(session.refused(statement).sqlstate, sqlstate, "{tenant}: {statement}");
        }
    }
    session.log_in("3");
    assert!(ids(&mut session).is_empty());
}

#[test]
fn the_index_is_used_and_the_tenant_found_once() {
    for (name, column, tenant) in [
        ("plan_uuid", "uuid", "md5(n::text)::uuid"),
        ("plan_text", "text", "'t' || n"),
        ("plan_varchar", "varchar(20)", "'t' || n"),
        ("plan_int", "int", "n"),
        ("plan_bigint", "bigint", "n"),
    ] {
        let sample = if column == "uuid" { A } else { "7" };
        let database = items(name, column, [sample, if column == "uuid" { B } else { "8" }]);
        let fill = format!("INSERT INTO item SELECT n + 10, {tenant} FROM generate_series(1, 20000) n; ANALYZE item");
        database.superuser().run(&fill);
        let mut session = database.connect("app");
        session.log_in(sample);
        let plan: Value = session.value("EXPLAIN (FORMAT JSON) SELECT * FROM item");
        let text = plan.to_string();
        assert!(text.contains("item_tenant_idx") && text.contains("Index Cond"), "{column}: {text}");
        assert!(!text.contains("Seq Scan"), "{column}: {text}");
        // A cast is made once; without one, the planner knows the tenant.
        assert_eq!(text.contains("InitPlan"), column.contains("int"), "{column}: {text}");
    }
}

#[test]
fn policies_from_before_cannot_let_other_tenants_in() {
    let database = Database::new("from_before");
    database.connect("owner").run(&format!(
        "CREATE TABLE item (id int PRIMARY KEY, tenant_id uuid NOT NULL, body text);
         INSERT INTO item VALUES (1, '{A}', 'alice'), (2, '{B}', 'alice'), (3, '{A}', 'bob'), (4, '{B}', 'public');
         GRANT ALL ON item TO app;
         CREATE POLICY own ON item USING (body = auth.user_id());
         CREATE POLICY open ON item FOR SELECT USING (body = 'public');
         SELECT auth.enable_tenant_isolation('item');"
    ));
    let mut session = database.connect("app");
    assert!(ids(&mut session).is_empty());
    session.log_in(A);
    assert_eq!(ids(&mut session), ["1"]);
    session.log_in(B);
    assert_eq!(ids(&mut session), ["2", "4"]);
    assert_eq!(session.refused(&format!("UPDATE item SET tenant_id = '{A}' WHERE id = 2")).sqlstate, "42501");
    assert_eq!(session.refused(&format!("INSERT INTO item VALUES (5, '{A}', 'alice')")).sqlstate, "42501");
    session.run("INSERT INTO item (id, body) VALUES (5, 'alice')");
}

#[test]
fn partitions_are_isolated_through_their_table() {
    let database = Database::new("partitions");
    database.connect("owner").run(&format!(
        "CREATE TABLE item (id int, tenant_id text NOT NULL) PARTITION BY LIST (id);
         CREATE INDEX ON item (tenant_id);
         CREATE TABLE item1 PARTITION OF item FOR VALUES IN (1);
         INSERT INTO item VALUES (1, '{A}'), (1, '{B}');
         GRANT ALL ON item TO app;
         SELECT auth.enable_tenant_isolation('item');
         CREATE TABLE item2 PARTITION OF item FOR VALUES IN (2);"
    ));
    let mut session = database.connect("app");
    session.log_in(A);
    session.run("INSERT INTO item VALUES (2)");
    assert_eq!(session.refused(&format!("INSERT INTO item VALUES (2, '{B}')")).sqlstate, "42501");
    assert_eq!(ids(&mut session), ["1", "2"]);
    assert_eq!(session.refused("SELECT * FROM item1").sqlstate, "42501");
    session.log_in(B);
    assert_eq!(ids(&mut session), ["1"]);
}
