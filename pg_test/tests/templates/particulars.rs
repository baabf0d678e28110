//! What single templates say in their comments, as they are, without the matrix's additions.

use std::fs;

use postgres::Client;

use crate::access::{Template, user};
use crate::server::{Database, file, refused, run, sign_in, sign_out, texts};
use crate::specs;

/// A template in a database of its own, and a session of its first actor.
fn first(name: &str) -> (Database, Client, &'static Template) {
    let template = specs::named(name);
    let database = Database::new(template, "particulars");
    let mut client = database.service();
    sign_in(&mut client, &template.actors[0]);
    (database, client, template)
}

#[test]
fn foreign_keys_stay_within_the_tenant() {
    let (database, mut client, template) = first("tenant_by_lookup");
    run(&mut client, "INSERT INTO tenant_by_lookup.document (folder_id, body) VALUES (1, 'in an own folder')");
    for statement in [
        "INSERT INTO tenant_by_lookup.document (folder_id, body) VALUES (2, 'in a folder of B')",
        "UPDATE tenant_by_lookup.document SET folder_id = 2 WHERE id = 1",
        "INSERT INTO tenant_by_lookup.document (folder_id, body) VALUES (3, 'in a folder that is not there')",
    ] {
        let error = refused(&mut client, statement);
        assert_eq!(error.sqlstate, "23503", "the same, whether the folder is another tenant's or not there");
    }
    let joined = "SELECT d.body FROM tenant_by_lookup.document d
        JOIN tenant_by_lookup.folder f USING (tenant_id) JOIN tenant_by_lookup.member m USING (tenant_id)
        WHERE f.id = d.folder_id AND m.user_id = auth.uid()";
    assert_eq!(texts(&mut client, joined), ["A rents a house", "in an own folder"]);
    run(&mut client, "DELETE FROM tenant_by_lookup.folder");
    let left = "SELECT body FROM tenant_by_lookup.document";
    assert_eq!(texts(&mut client, left), ["A buys a car"], "documents go with their folder");
    assert_eq!(texts(&mut database.superuser(), left), ["A buys a car", "B lets a house"]);
    // A changed membership counts at the next statement.
    run(
        &mut database.superuser(),
        "UPDATE tenant_by_lookup.member SET tenant_id = '00000000-0000-4000-8000-00000000000b'
          WHERE user_id = '00000000-0000-4000-8000-0000000000a1'",
    );
    assert_eq!(texts(&mut client, left), ["B lets a house"]);
    sign_in(&mut client, &template.actors[1]);
    assert_eq!(texts(&mut client, left), ["A buys a car"]);
}

#[test]
fn a_choice_is_needed_and_is_limited_to_memberships() {
    let mut client = Database::new(specs::named("chosen_tenant"), "particulars").service();
    sign_in(&mut client, &user("alice", "{}"));
    let projects = "SELECT body FROM chosen_tenant.project";
    for statement in [projects, "UPDATE chosen_tenant.project SET body = ''", "DELETE FROM chosen_tenant.project"] {
        let error = refused(&mut client, statement);
        assert!(format!("{error:?}").contains("auth.set_tenant"), "{error:?}");
    }
    let tenants = "SELECT name FROM chosen_tenant.tenant";
    assert_eq!(texts(&mut client, tenants), ["Acme Anvils", "Globex Energy"], "to choose from");
    run(&mut client, "SELECT auth.set_tenant('globex')");
    assert_eq!(texts(&mut client, projects), ["A hammock"]);
    refused(&mut client, "SELECT auth.set_tenant('initech')");
    assert!(!texts(&mut client, projects).contains(&"A cover sheet".to_owned()));
    sign_out(&mut client);
    assert!(texts(&mut client, projects).is_empty() && texts(&mut client, tenants).is_empty());
}

#[test]
fn defaults_fill_in_and_cannot_be_overridden() {
    let (_database, mut client, _) = first("column_defaults");
    run(&mut client, "INSERT INTO column_defaults.entry (body) VALUES ('planted a tree')");
    let by = "SELECT owner || ' ' || owner_email || ' ' || (created_at > now() - interval '1 hour')
                FROM column_defaults.entry WHERE body = 'planted a tree'";
    assert_eq!(texts(&mut client, by), ["alice alice@example.com true"]);
    for (column, value) in [("owner", "bob"), ("owner_email", "bob@example.com"), ("created_at", "2020-01-01")] {
        for statement in [
            format!("INSERT INTO column_defaults.entry (body, {column}) VALUES ('x', '{value}')"),
            format!("INSERT INTO column_defaults.entry (body, {column}) VALUES ('x', NULL)"),
            format!("UPDATE column_defaults.entry SET {column} = '{value}'"),
            format!("UPDATE column_defaults.entry SET {column} = DEFAULT"),
        ] {
            assert_eq!(refused(&mut client, &statement).sqlstate, "42501", "{statement}");
        }
    }
    run(&mut client, "UPDATE column_defaults.entry SET body = 'planted an oak' WHERE body = 'planted a tree'");
}

#[test]
fn a_subscription_counts_as_long_as_it_lasts() {
    let (database, mut client, template) = first("active_subscription");
    let (reports, mut superuser) = ("SELECT body FROM active_subscription.report", database.superuser());
    let mut until = |user: &str, end: &str| {
        let update = "UPDATE active_subscription.subscription SET active_until";
        run(&mut superuser, &format!("{update} = '{end}' WHERE user_id = '{user}'"));
    };
    assert_eq!(texts(&mut client, reports), ["January"]);
    until("alice", "2020-01-01");
    assert!(texts(&mut client, reports).is_empty());
    sign_in(&mut client, &template.actors[2]);
    assert!(texts(&mut client, reports).is_empty());
    until("carol", "infinity");
    assert_eq!(texts(&mut client, reports), ["March"]);
    for theft in ["SET active_until = 'infinity'", "SET user_id = 'carol'"] {
        refused(&mut client, &format!("UPDATE active_subscription.subscription {theft}"));
    }
}

#[test]
fn levels_are_changed_by_managers_only() {
    let (database, mut client, template) = first("tenant_roles");
    let [change, join] = [
        "UPDATE tenant_roles.member SET level = 3 WHERE user_id = 'anna'",
        "INSERT INTO tenant_roles.member (user_id) VALUES ('bob')",
    ];
    assert_eq!(refused(&mut client, join).sqlstate, "23505", "Bob is in another tenant");
    sign_in(&mut client, &template.actors[2]);
    assert_eq!(client.execute(change, &[]).expect("an UPDATE of nothing"), 0);
    let rename = "UPDATE tenant_roles.document SET body = 'Nine anvils' WHERE id = 1";
    assert_eq!(client.execute(rename, &[]).expect("an UPDATE of nothing"), 0);
    run(&mut database.superuser(), change);
    assert_eq!(client.execute(rename, &[]).expect("an UPDATE"), 1, "at the next statement");
    run(&mut database.superuser(), "DELETE FROM tenant_roles.member WHERE user_id = 'anna'");
    assert!(texts(&mut client, "SELECT body FROM tenant_roles.document").is_empty());
}

#[test]
fn views_read_as_who_asks() {
    let (database, mut client, template) = first("views");
    let counted = "SELECT owner || ' ' || tasks FROM views.task_count";
    let open = "SELECT body FROM views.open_task";
    let check = |client: &mut Client| {
        for (actor, tasks, body) in [(0, "alice 2", "buy seeds"), (1, "bob 1", "learn to swim")] {
            sign_in(client, &template.actors[actor]);
            assert_eq!(texts(client, counted), [tasks]);
            assert_eq!(texts(client, open), [body]);
        }
        let gift = "UPDATE views.open_task SET owner = 'alice'";
        assert_eq!(refused(client, gift).sqlstate, "42501");
        sign_out(client);
        assert!(texts(client, counted).is_empty() && texts(client, open).is_empty());
    };
    check(&mut client);
    // What the file does on PostgreSQL 14 works here too.
    let text = fs::read_to_string(file("views")).expect("the file");
    let (_, older) = text.split_once("\\else").expect("a branch for 14");
    let (older, _) = older.split_once("\\endif").expect("its end");
    let mut superuser = database.superuser();
    run(&mut superuser, &format!("DROP VIEW views.open_task, views.task_count; {older}"));
    check(&mut client);
    // The trap: a view whose owner no policy binds.
    run(&mut superuser, "ALTER VIEW views.task_count OWNER TO postgres; GRANT SELECT ON views.task_count TO app");
    assert_eq!(texts(&mut client, counted), ["alice 2", "bob 1"]);
}

#[test]
fn partitions_are_closed_and_pruned() {
    let (database, mut client, _) = first("partitions");
    for statement in [
        "SELECT FROM partitions.event_0",
        "DELETE FROM partitions.event_1",
        "INSERT INTO partitions.event_0 (body) VALUES ('x')",
        "COPY partitions.event_0 TO STDOUT",
    ] {
        assert_eq!(refused(&mut client, statement).sqlstate, "42501", "{statement}");
    }
    let plan = texts(&mut client, "EXPLAIN (ANALYZE, TIMING OFF) SELECT FROM partitions.event");
    let has = |text: &str| plan.iter().any(|line| line.contains(text));
    // As the tenant is known when the executor starts, the other partition is not even opened for reading.
    assert!(has("Scan on event_1") && has("Subplans Removed: 1") && !has("Scan on event_0"), "{plan:?}");
    let rows = "SELECT DISTINCT tableoid::regclass::text FROM partitions.event";
    assert_eq!(texts(&mut database.superuser(), rows), ["partitions.event_0", "partitions.event_1"]);
}
