//! How one gets rid of isolation again, in which order, and without the library.

use pg_test::Cluster;
use pg_test::documents::Page;
use pg_test::sql::{refused, run};

use crate::shop::{Shop, column, options};

const ROWS: &str = "SELECT number FROM invoice ORDER BY 1";

#[test]
fn the_extension_is_not_dropped_while_tables_are_isolated_and_then_it_is() {
    let shop = Shop::new(options());
    let mut admin = shop.client("postgres");
    for drop in ["DROP EXTENSION pg_jwks", "DROP EXTENSION pg_jwks CASCADE"] {
        let error = refused(&mut admin, drop);
        assert_eq!((&*error.sqlstate, &*error.message), ("55006", "table public.invoice is isolated by tenant"));
    }
    let removing = &Page::of_repository("docs/operating.md").blocks("Removing", "sql")[0];
    let of_this_database = removing.split_once("ALTER SYSTEM").expect("the settings").0;
    run(&mut admin, of_this_database);
    // Everybody to whom it is granted sees the table as it was before, with all rows.
    assert_eq!(column(&mut shop.client("app"), ROWS), ["A-1", "B-1"]);
    assert_eq!(shop.all("SELECT count(*) FROM pg_policy"), ["0"]);
}

/// A session that has not loaded the library, as after the setting was removed first.
#[test]
fn isolation_is_undone_without_the_library() {
    let cluster = Cluster::options().start();
    let mut admin = cluster.client();
    run(
        &mut admin,
        "CREATE EXTENSION pg_jwks; CREATE TABLE invoice (tenant_id uuid PRIMARY KEY, number text);
         SELECT auth.enable_tenant_isolation('invoice')",
    );
    let mut fresh = cluster.client();
    run(&mut fresh, "SELECT auth.disable_tenant_isolation('invoice')");
    let loaded = "SELECT count(*) FROM pg_settings WHERE name LIKE 'pg\\_jwks.%' AND source <> 'client'";
    assert_eq!(
        column(&mut fresh, &format!("{loaded} AND name <> 'pg_jwks.protect_isolation'")),
        ["0"],
        "it is not loaded"
    );
    run(&mut fresh, "DROP EXTENSION pg_jwks");
    assert_eq!(column(&mut fresh, "SELECT relrowsecurity FROM pg_class WHERE relname = 'invoice'"), ["false"]);
}
