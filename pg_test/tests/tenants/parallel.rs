//! Parallel workers look up the tenant for themselves, and have the choice of their leader.

use crate::server::*;
use serde_json::{Value, json};

const PARALLEL: &str = "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
    SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;";

fn big() -> String {
    format!(
        "{USUAL} INSERT INTO note SELECT n, CASE n % 2 WHEN 0 THEN '{RED}' ELSE '{BLUE}' END::uuid FROM generate_series(10, 20009) n;
         ANALYZE note"
    )
}

/// The rows that parallel workers see; fails where no worker ran.
#[track_caller]
fn rows_for_workers(client: &mut postgres::Client) -> i64 {
    let plan: Value = value(client, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT id FROM note");
    let gather = &plan[0]["Plan"];
    assert!(gather["Workers Launched"].as_i64().is_some_and(|workers| workers > 0), "no worker was launched: {plan}");
    gather["Actual Rows"].as_f64().expect("a number") as i64
}

#[test]
fn workers_see_the_tenant() {
    let database = Database::new("parallel", &big());
    let mut client = database.app();
    run(&mut client, PARALLEL);
    assert_eq!(rows_for_workers(&mut client), 0);
    for (user, rows) in [(ALICE, 10_002), (BOB, 10_002), ("nobody", 0)] {
        init(&mut client, user);
        assert_eq!(rows_for_workers(&mut client), rows, "{user}");
    }
    init(&mut client, CAROL);
    for own in [RED, BLUE] {
        run(&mut client, &format!("SELECT auth.set_tenant('{own}')"));
        assert_eq!(rows_for_workers(&mut client), 10_002);
        let seen: Vec<String> = value(&mut client, "SELECT array_agg(DISTINCT tenant_id::text) FROM note");
        assert_eq!(seen, [own]);
    }
    run(&mut database.dba(), &format!("DELETE FROM users WHERE tenant_id = '{BLUE}'"));
    assert_eq!(refused(&mut client, "SELECT count(*) FROM note").sqlstate, "42501");
    // What a transaction has not committed, its workers see.
    let mut dba = database.dba();
    run(&mut dba, "ALTER TABLE note FORCE ROW LEVEL SECURITY");
    run(&mut dba, PARALLEL);
    init(&mut dba, ALICE);
    run(&mut dba, &format!("BEGIN; UPDATE users SET tenant_id = '{BLUE}' WHERE id = '{ALICE}'"));
    assert_eq!(rows_for_workers(&mut dba), 10_002);
    let seen: Vec<String> = value(&mut dba, "SELECT array_agg(DISTINCT tenant_id::text) FROM note");
    assert_eq!(seen, [BLUE]);
}

#[test]
fn claimed_tenants_reach_workers() {
    let database = Database::new("parallel_claims", &big()).set("tenant_claim", "t");
    let mut client = database.app();
    run(&mut client, PARALLEL);
    init_with(&mut client, json!({ "t": [RED, BLUE] }));
    assert_eq!(refused(&mut client, "SELECT count(*) FROM note").sqlstate, "55000");
    run(&mut client, &format!("SELECT auth.set_tenant('{RED}')"));
    assert_eq!(rows_for_workers(&mut client), 10_002);
}

/// All readers, and the errors of all.
#[test]
fn forced_workers_run_every_reader() {
    let database = Database::new("parallel_forced", USUAL);
    let force = match SERVER.major_version() {
        ..16 => "force_parallel_mode",
        _ => "debug_parallel_query",
    };
    let mut client = database.app();
    run(&mut client, &format!("SET {force} = on"));
    assert_eq!((tenant(&mut client), tenants(&mut client), notes(&mut client)), (None, None, vec![]));
    init(&mut client, ALICE);
    let plan: Value =
        value(&mut client, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT auth.tenant_id() FROM note");
    assert_eq!(plan[0]["Plan"]["Workers Launched"], 1, "{plan}");
    assert_eq!((tenant(&mut client).as_deref(), notes(&mut client)), (Some(RED), vec![1, 3]));
    assert_eq!(tenants(&mut client), Some(vec![RED.into()]));
    init(&mut client, CAROL);
    assert_eq!(all_fail(&mut client, "55000").message, "no tenant chosen");
    run(&mut client, &format!("SELECT auth.set_tenant('{BLUE}')"));
    assert_eq!((tenant(&mut client).as_deref(), notes(&mut client)), (Some(BLUE), vec![2, 4]));
    run(&mut database.dba(), "DROP TABLE users");
    assert!(all_fail(&mut client, "55000").hint.is_some_and(|hint| hint.contains("pg_jwks.tenant_lookup")));
}
