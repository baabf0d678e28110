//! What went wrong on 0.1.0 for people who tried it, each by its name.

use pg_test::process::run as run_program;
use pg_test::sql::{refused, run};

use crate::shop::{A, B, Shop, column, log_in, options};

const ROWS: &str = "SELECT number FROM invoice ORDER BY 1";

/// A Django data migration as the owner "backfilled 0 … OK".
#[test]
fn a_data_migration_of_the_owner_fills_every_row_or_is_an_error() {
    let shop = Shop::new(options());
    let update = "UPDATE invoice SET paid = true";
    assert_eq!(shop.client("app_owner").execute(update, &[]).expect("a migration"), 2);
    run(&mut shop.client("postgres"), "ALTER ROLE app_owner NOBYPASSRLS");
    assert_eq!(refused(&mut shop.client("app_owner"), update).sqlstate, "42501");
}

/// Drizzle's push, asked for one new column, dropped the policy and switched row security off without asking. Both tenants'
/// rows were then readable without a token.
#[test]
fn a_schema_tool_that_drops_the_policy_is_refused_and_changes_nothing() {
    let shop = Shop::new(options());
    let mut tool = shop.client("app_owner");
    for statement in [
        "ALTER TABLE \"invoice\" DISABLE ROW LEVEL SECURITY",
        "DROP POLICY \"tenant_isolation\" ON \"invoice\" CASCADE",
    ] {
        assert_eq!(refused(&mut tool, statement).sqlstate, "55006", "{statement}");
    }
    run(&mut tool, "ALTER TABLE \"invoice\" ADD COLUMN \"note\" text");
    assert_eq!(column(&mut shop.client("app"), ROWS), [""; 0]);
}

/// The owner's pg_dump failed, or with a flag wrote empty tables.
#[test]
fn a_dump_of_the_owner_s_has_every_row() {
    let shop = Shop::new(options());
    let file = shop.cluster.socket_dir().join("shop.sql");
    run_program(
        shop.cluster.program("pg_dump").args(["--username", "app_owner", "--dbname", "shop", "--file"]).arg(&file),
    );
    let dump = std::fs::read_to_string(file).expect("the dump");
    assert!(dump.contains("A-1") && dump.contains("B-1"), "{dump}");
}

/// Jobs, seeds and an application's own tests had no way at all.
#[test]
fn a_job_works_as_a_tenant_without_a_token() {
    let shop = Shop::new(options());
    let mut worker = shop.client("worker");
    run(&mut worker, "BEGIN");
    run(&mut worker, &format!("SELECT auth.assume_identity('{{\"sub\": \"job\", \"tenant_id\": \"{A}\"}}', true)"));
    assert_eq!(column(&mut worker, ROWS), ["A-1"]);
    run(&mut worker, "INSERT INTO invoice (number) VALUES ('A-2')");
    run(&mut worker, "COMMIT");
    assert_eq!(column(&mut worker, ROWS), [""; 0]);
    assert_eq!(shop.all(&format!("SELECT number FROM invoice WHERE tenant_id = '{A}' ORDER BY 1")), ["A-1", "A-2"]);
}

/// A foreign key let one tenant's delete take another tenant's rows.
#[test]
fn one_tenant_s_delete_takes_no_row_of_another_s() {
    let shop = Shop::new(options());
    let mut owner = shop.client("app_owner");
    run(
        &mut owner,
        "CREATE TABLE line (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant_id uuid NOT NULL,
             invoice_id uuid REFERENCES invoice (id) ON DELETE CASCADE);
         CREATE INDEX ON line (tenant_id); GRANT SELECT, INSERT ON line TO app; SELECT auth.enable_tenant_isolation('line')",
    );
    let error = refused(&mut owner, "SELECT auth.rls_assert()");
    assert!(error.detail.expect("the fault").contains("foreign_key_across_tenants"));
    let fix = column(&mut owner, "SELECT fix FROM auth.rls_lint() WHERE rule = 'foreign_key_across_tenants'").remove(0);
    run(&mut owner, &fix);
    run(&mut owner, "SELECT auth.rls_assert()");
    let foreign = shop.all("SELECT id FROM invoice WHERE number = 'A-1'").remove(0);
    let mut app = shop.client("app");
    log_in(&mut app, "bob", B);
    let insert = format!("INSERT INTO line (invoice_id) VALUES ('{foreign}')");
    assert_eq!(refused(&mut app, &insert).sqlstate, "23503");
}
