//! Logical replication of an isolated table, from one database of the server into another.

use pg_test::sql::run;
use pg_test::wait::eventually;

use crate::shop::{Shop, column, options};

fn subscribe(shop: &Shop, role: &str) {
    run(&mut shop.client("postgres"), &format!("SELECT pg_create_logical_replication_slot('{role}', 'pgoutput')"));
    let subscription = format!(
        "CREATE SUBSCRIPTION {role} CONNECTION 'host=127.0.0.1 port={} dbname=shop user={role}' PUBLICATION invoices
         WITH (create_slot = false, slot_name = '{role}')",
        shop.cluster.port()
    );
    run(&mut shop.cluster.connect("postgres", "warehouse"), &subscription);
}

#[test]
fn rows_of_all_tenants_are_replicated_if_no_policy_binds_the_roles() {
    let shop = Shop::new(options().setting("wal_level", "logical"));
    shop.section("Logical replication");
    shop.commands("createdb -U postgres warehouse; pg_dump -U postgres -s shop | psql -U postgres -q -d warehouse")
        .expect("the schema");
    let mut warehouse = shop.cluster.connect("postgres", "warehouse");
    let numbers = |client: &mut _| column(client, "SELECT number FROM invoice ORDER BY 1");

    // Bound, it copies no row, and says so to nobody: the document's sentence.
    run(&mut shop.client("postgres"), "CREATE ROLE bound LOGIN REPLICATION; GRANT SELECT ON invoice TO bound");
    subscribe(&shop, "bound");
    eventually("the table is copied", || {
        (column(&mut warehouse, "SELECT srsubstate FROM pg_subscription_rel") == ["r"]).then_some(())
    });
    assert_eq!(numbers(&mut warehouse), [""; 0]);
    run(&mut warehouse, "ALTER SUBSCRIPTION bound DISABLE");
    run(&mut warehouse, "ALTER SUBSCRIPTION bound SET (slot_name = NONE)");
    run(&mut warehouse, "DROP SUBSCRIPTION bound");

    subscribe(&shop, "replicator");
    eventually("the rows", || (numbers(&mut warehouse) == ["A-1", "B-1"]).then_some(()));
    run(&mut shop.client("app_owner"), "UPDATE invoice SET number = 'A-2' WHERE number = 'A-1'");
    eventually("the change", || (numbers(&mut warehouse) == ["A-2", "B-1"]).then_some(()));
    // The copy is isolated like its source.
    let mut app = shop.cluster.connect("app", "warehouse");
    assert_eq!(numbers(&mut app), [""; 0]);
    let unbound = "SELECT count(*) FROM auth.rls_lint() WHERE rule = 'role_past_policies'";
    shop.cluster.reload();
    assert_eq!(shop.all(unbound), ["0"]);
    // From 16 on, an owner of the table whom policies bind cannot write, and the log says so.
    let mark = shop.cluster.log_mark();
    run(&mut shop.client("postgres"), "ALTER ROLE app_owner NOBYPASSRLS");
    run(&mut shop.client("postgres"), "UPDATE invoice SET number = 'A-3' WHERE number = 'A-2'");
    if shop.cluster.major_version() >= 16 {
        let refused = "user \"app_owner\" cannot replicate into relation with row-level security enabled: \"invoice\"";
        eventually("an error", || shop.cluster.log_since(mark).contains(refused).then_some(()));
        run(&mut shop.client("postgres"), "ALTER ROLE app_owner BYPASSRLS");
    }
    eventually("the change", || (numbers(&mut warehouse) == ["A-3", "B-1"]).then_some(()));
    run(&mut warehouse, "ALTER SUBSCRIPTION replicator DISABLE");
    run(&mut warehouse, "ALTER SUBSCRIPTION replicator SET (slot_name = NONE)");
    run(&mut warehouse, "DROP SUBSCRIPTION replicator");
}
