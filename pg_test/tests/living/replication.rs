//! Logical replication of an isolated table, from one database of the server into another.

use pg_test::sql::{refused, run};
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
    // A subscription whose owner is bound cannot write.
    run(&mut warehouse, "ALTER SUBSCRIPTION replicator DISABLE");
    run(&mut warehouse, "ALTER SUBSCRIPTION replicator SET (slot_name = NONE)");
    run(&mut warehouse, "DROP SUBSCRIPTION replicator");
    assert_eq!(refused(&mut app, "COPY invoice FROM '/dev/null'").sqlstate, "42501");
}
