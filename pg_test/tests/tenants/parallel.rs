//! Parallel workers look up the tenant for themselves, and have the choice of their leader.

use crate::server::*;
use pg_test::parallel::{self, PARALLEL, rows_for_workers};
use serde_json::{Value, json};

fn big() -> String {
    format!(
        "{USUAL} INSERT INTO note SELECT n, CASE n % 2 WHEN 0 THEN '{RED}' ELSE '{BLUE}' END::uuid FROM generate_series(10, 20009) n;
         ANALYZE note"
    )
}

#[test]
fn workers_see_the_tenant() {
    let database = Database::new("parallel", &big());
    let mut client = database.app();
    run(&mut client, PARALLEL);
    assert_eq!(rows_for_workers(&mut client, "note"), 0);
    for (user, rows) in [(ALICE, 10_002), (BOB, 10_002), ("nobody", 0)] {
        init(&mut client, user);
        assert_eq!(rows_for_workers(&mut client, "note"), rows, "{user}");
    }
    init(&mut client, CAROL);
    for own in [RED, BLUE] {
        run(&mut client, &format!("SELECT auth.set_tenant('{own}')"));
        assert_eq!(rows_for_workers(&mut client, "note"), 10_002);
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
    assert_eq!(rows_for_workers(&mut dba, "note"), 10_002);
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
    assert_eq!(rows_for_workers(&mut client, "note"), 10_002);
}

/// All readers, and the errors of all.
#[test]
fn forced_workers_run_every_reader() {
    let database = Database::new("parallel_forced", USUAL);
    let mut client = database.app();
    run(&mut client, parallel::force(&SERVER));
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
