//! Parallel query, and what its workers see.

use postgres::Client;
use serde_json::Value;

use crate::{Cluster, sql};

/// A table `big` that shows each user their own rows: 10,000 for each of alice, bob and carol.
pub const BIG: &str = "
    CREATE TABLE big AS SELECT n AS id, ('{alice,bob,carol}'::text[])[n % 3 + 1] AS owner FROM generate_series(1, 30000) n;
    ANALYZE big;
    ALTER TABLE big ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON big USING (owner = auth.user_id());
    GRANT ALL ON big TO PUBLIC;";

/// Parallel plans for whatever can have one, with all the work done by the workers.
pub const PARALLEL: &str = "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0;
    SET parallel_tuple_cost = 0; SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;";

/// The statement that forces a parallel plan upon everything that may have one.
pub fn force(cluster: &Cluster) -> &'static str {
    match cluster.major_version() {
        ..16 => "SET force_parallel_mode = on",
        16.. => "SET debug_parallel_query = on",
    }
}

/// The statement that shows how many rows of a table parallel workers find: [`rows_found`] reads it.
pub fn explain_scan(table: &str) -> String {
    format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT id FROM {table}")
}

/// How many rows the workers of this plan found; panics if no worker ran.
#[track_caller]
pub fn rows_found(plan: &Value) -> i64 {
    let gather = &plan[0]["Plan"];
    assert!(gather["Workers Launched"].as_i64().is_some_and(|workers| workers > 0), "no worker was launched: {plan}");
    // PostgreSQL 18 writes it with decimals.
    gather["Actual Rows"].as_f64().expect("a number") as i64
}

/// How many rows of a table with a column `id` parallel workers find; panics if no worker ran. The session must have
/// [`PARALLEL`] set.
#[track_caller]
pub fn rows_for_workers(client: &mut Client, table: &str) -> i64 {
    rows_found(&sql::value(client, &explain_scan(table)))
}
