//! Plans that are kept while the identity changes, parallel plans, and plans that use the index.

use std::collections::BTreeSet;

use postgres::{Client, Statement};
use serde_json::Value;

use crate::access::NOBODY;
use crate::attacks::set;
use crate::matrix::{shared, view};
use crate::server::{Database, force_parallel, run, sign_in, sign_in_locally, sign_in_refused, sign_out, texts};
use crate::specs;

fn shown(client: &mut Client, statement: &Statement) -> BTreeSet<String> {
    let rows = client.query(statement, &[]).expect("a kept plan");
    rows.iter().map(|row| row.get(0)).collect()
}

/// A read, an UPDATE and a DELETE, each planned once for all actors.
#[test]
fn kept_plans_follow_the_identity() {
    for template in specs::all() {
        let mut client = shared(template).service();
        run(&mut client, "SET plan_cache_mode = force_generic_plan");
        for target in template.targets {
            let [read, update, delete] = {
                let view = view(template, target, NOBODY);
                let writes = view.writes(&BTreeSet::new());
                let write = |verb| {
                    let returning = |s: &&str| s.starts_with(verb) && s.contains("RETURNING");
                    writes.iter().map(|attack| &*attack.statement).find(returning).expect(verb).to_owned()
                };
                [view.reads().swap_remove(0), write("UPDATE"), write("DELETE")]
            }
            .map(|statement| client.prepare(&statement).expect("a statement"));
            let check = |client: &mut Client, who: &str| {
                let access = target.access(who);
                let about = format!("{}.{}, {who}", template.name, target.name);
                for (statement, expected) in
                    [(&read, access.reads), (&update, access.updates), (&read, access.reads), (&delete, access.deletes)]
                {
                    run(client, "BEGIN");
                    assert_eq!(shown(client, statement), set(expected), "{about}");
                    run(client, "ROLLBACK");
                }
            };
            for _ in 0..2 {
                for actor in template.actors {
                    sign_in(&mut client, actor);
                    check(&mut client, actor.name);
                }
                sign_out(&mut client);
                for actor in template.actors {
                    run(&mut client, "BEGIN");
                    sign_in_locally(&mut client, actor);
                    assert_eq!(shown(&mut client, &read), set(target.access(actor.name).reads), "{}", actor.name);
                    run(&mut client, "COMMIT");
                    check(&mut client, NOBODY);
                }
                sign_in_refused(&mut client, &template.actors[0]);
                check(&mut client, NOBODY);
                sign_in(&mut client, &template.actors[1]);
                check(&mut client, template.actors[1].name);
                sign_out(&mut client);
                check(&mut client, NOBODY);
            }
        }
    }
}

const SEQUENTIAL: &str = "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off";

#[test]
fn parallel_workers_obey() {
    for template in specs::all() {
        let mut client = shared(template).service();
        force_parallel(&mut client);
        run(&mut client, &format!("{SEQUENTIAL}; SET plan_cache_mode = force_generic_plan"));
        for target in template.targets {
            let read = view(template, target, NOBODY).reads().swap_remove(0);
            let kept = client.prepare(&read).expect("a statement");
            for actor in template.actors.iter().chain(template.actors) {
                sign_in(&mut client, actor);
                let plan = explained(&mut client, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {read}"));
                let launched = numbers(&plan, "Workers Launched");
                assert!(launched > 0, "{}.{}: {plan}", template.name, target.name);
                let access = target.access(actor.name);
                assert_eq!(shown(&mut client, &kept), set(access.reads), "{}, {}", template.name, actor.name);
            }
            sign_out(&mut client);
            assert_eq!(shown(&mut client, &kept), set(target.access(NOBODY).reads), "{}", template.name);
        }
    }
}

fn explained(client: &mut Client, statement: &str) -> Value {
    client.query_one(statement, &[]).expect("EXPLAIN").get(0)
}

/// The sum of a number over the nodes of a plan.
fn numbers(plan: &Value, name: &str) -> i64 {
    let own = plan.get(name).and_then(Value::as_i64).unwrap_or(0);
    let inner = match plan {
        Value::Array(values) => values.iter().map(|value| numbers(value, name)).sum(),
        Value::Object(members) => members.values().map(|value| numbers(value, name)).sum(),
        _ => 0,
    };
    own + inner
}

/// The types of the nodes of a plan that read tables.
fn scans(plan: &Value) -> Vec<String> {
    let own = plan.get("Relation Name").and_then(|_| plan["Node Type"].as_str()).map(str::to_owned);
    let inner: Vec<String> = match plan {
        Value::Array(values) => values.iter().flat_map(scans).collect(),
        Value::Object(members) => members.values().flat_map(scans).collect(),
        _ => Vec::new(),
    };
    own.into_iter().chain(inner).collect()
}

/// Whether all tables of a query are read by an index, where the planner would do anything to avoid other ways.
fn uses_indexes(client: &mut Client, read: &str) -> bool {
    run(client, "SET enable_seqscan = off");
    let scans = scans(&explained(client, &format!("EXPLAIN (FORMAT JSON) {read}")));
    assert!(!scans.is_empty(), "{read}");
    scans.iter().all(|scan| scan.contains("Index") || scan.contains("Bitmap"))
}

/// What the comments say of costs: the policy's condition finds the rows by the index. The exception is the
/// administrator who sees all, as its comment says.
#[test]
fn policies_use_the_index() {
    for template in specs::all() {
        let mut client = shared(template).service();
        sign_in(&mut client, &template.actors[0]);
        for target in template.targets {
            let read = view(template, target, NOBODY).reads().swap_remove(0);
            assert_eq!(uses_indexes(&mut client, &read), template.name != "admin_sees_all", "{read}");
        }
    }
}

/// And what that comment advises for large tables.
#[test]
fn a_role_for_administrators_leaves_the_index_to_the_others() {
    let template = specs::named("admin_sees_all");
    let database = Database::new(template, "roles");
    run(
        &mut database.superuser(),
        "CREATE ROLE support IN ROLE app;
         CREATE ROLE teller LOGIN NOINHERIT IN ROLE app, support;
         ALTER POLICY admin ON admin_sees_all.ticket TO support",
    );
    let mut client = database.session("teller");
    run(&mut client, "SET ROLE app");
    let read = "SELECT id::text FROM admin_sees_all.ticket";
    sign_in(&mut client, &template.actors[0]);
    assert!(uses_indexes(&mut client, read));
    sign_in(&mut client, &template.actors[2]);
    assert!(texts(&mut client, read).is_empty());
    run(&mut client, "SET ROLE support");
    assert_eq!(texts(&mut client, read), ["1", "2", "3"]);
    sign_in(&mut client, &template.actors[0]);
    assert_eq!(texts(&mut client, read), ["1"], "the role alone is not enough");
}
