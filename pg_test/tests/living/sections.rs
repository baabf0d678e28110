//! The sections of "Living with row security", one after the other, as a reader would run them.

use pg_test::documents::Page;
use pg_test::sql::{refused, run};

use crate::shop::{A, B, Shop, column, log_in, options};

const PAGE: &str = "docs/tenants.md";

#[test]
fn each_section_does_what_it_says() {
    let shop = Shop::with_roles(options().setting("wal_level", "logical"));
    migrations(&shop);
    jobs(&shop);
    support(&shop);
    dumps(&shop);
    tests_of_the_application(&shop);
    copy_and_upserts(&shop);
    keys(&shop);
    materialised_views(&shop);
    // No section is left out: those that need more have tests of their own.
    let page = Page::of_repository(PAGE);
    let living = page.text().split_once("## Living with row security").expect("the section").1.to_owned();
    let sections: Vec<_> = living.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(
        sections,
        [
            "Migrations",
            "Seeds",
            "Jobs",
            "Support",
            "Dumps and restores",
            "Logical replication",
            "Tests of the application",
            "TRUNCATE, COPY and upserts",
            "Unique and foreign keys",
            "Materialised views",
            "Backing out",
        ]
    );
}

fn migrations(shop: &Shop) {
    let [create, fill] = &Page::of_repository(PAGE).blocks("Migrations", "sql")[..] else { panic!("two blocks") };
    shop.block(create);
    shop.section("Seeds");
    shop.block(fill);
    assert_eq!(shop.all("SELECT number || ' ' || paid FROM invoice ORDER BY 1"), ["A-1 false", "B-1 false"]);
    let mut app = shop.client("app");
    for (tenant, number) in [(A, "A-1"), (B, "B-1")] {
        log_in(&mut app, "alice", tenant);
        assert_eq!(column(&mut app, "SELECT number FROM invoice"), [number]);
    }
    // `row_security = off` on a role that lost BYPASSRLS: an error, not silence.
    run(&mut shop.client("postgres"), "ALTER ROLE app_owner NOBYPASSRLS");
    let error = refused(&mut shop.client("app_owner"), "UPDATE invoice SET paid = true");
    assert_eq!(error.message, "query would be affected by row-level security policy for table \"invoice\"");
    run(&mut shop.client("postgres"), "ALTER ROLE app_owner BYPASSRLS");
}

fn jobs(shop: &Shop) {
    let blocks = Page::of_repository(PAGE).blocks("Jobs", "sql");
    let [once, each, cron, queue, take] = &blocks[..] else { panic!("five blocks") };
    shop.block(once);
    assert_eq!(shop.all("SELECT number || ' ' || paid FROM invoice ORDER BY 1"), ["A-1 true", "B-1 false"]);
    shop.block(each);
    let monthly = "SELECT tenant_id FROM invoice WHERE number = 'monthly' ORDER BY 1";
    assert_eq!(shop.all(monthly), [A, B]);
    assert!(cron.starts_with("-- as worker, with pg_cron\n"), "{cron}");
    shop.block(queue);
    let mut app = shop.client("app");
    log_in(&mut app, "bob", B);
    run(&mut app, "INSERT INTO task (number) VALUES ('B-1')");
    assert_eq!(
        refused(&mut app, &format!("INSERT INTO task (number, tenant_id) VALUES ('x', '{A}')")).sqlstate,
        "42501"
    );
    shop.block(take);
    assert_eq!(shop.all("SELECT number FROM invoice WHERE paid ORDER BY 1"), ["A-1", "B-1"]);
    assert_eq!(shop.all("SELECT count(*) FROM task"), ["0"]);
    shop.block(take);
    // A role without the grant assumes nothing, and one that lost it has lost the identity.
    assert_eq!(refused(&mut app, "SELECT auth.assume_identity('{\"sub\": \"bob\"}')").sqlstate, "42501");
}

fn support(shop: &Shop) {
    let [look, refuse] = &Page::of_repository(PAGE).blocks("Support", "sql")[..] else { panic!("two blocks") };
    let output = shop.block(look);
    assert!(output.contains("A-1") && output.contains("(2 rows)") && !output.contains("B-1"), "{output}");
    let writing = look.replace("SELECT number, paid FROM invoice", "DELETE FROM invoice");
    let path = shop.cluster.write_file("writing.sql", &writing);
    let output = shop.cluster.run_sql_file("worker", "shop", path).expect_err("read only");
    assert!(output.contains("cannot execute DELETE in a read-only transaction"), "{output}");
    shop.block(refuse);
    let mut app = shop.client("app");
    log_in(&mut app, "alice", A);
    run(&mut app, "INSERT INTO message (body) VALUES ('private')");
    assert_eq!(column(&mut app, "SELECT body FROM message"), ["private"]);
    let output = shop.block(&look.replace("number, paid FROM invoice", "body FROM message"));
    assert!(output.contains("(0 rows)"), "{output}");
}

fn dumps(shop: &Shop) {
    let [dump, clean] = &Page::of_repository(PAGE).blocks("Dumps and restores", "sh")[..] else { panic!("two blocks") };
    let count = |db: &str| column(&mut shop.cluster.connect("postgres", db), "SELECT count(*) FROM invoice");
    shop.commands(dump).expect("a dump and a restore");
    assert_eq!(count("shop_copy"), count("shop"));
    let again = clean.split_once(' ').expect("a setting").1.split_once(' ').expect("its value").1;
    let refused = shop.commands(again).expect_err("the policies are protected");
    assert!(refused.contains("table public.invoice is isolated by tenant"), "{refused}");
    shop.commands(clean).expect("with the setting off");
    assert_eq!(count("shop_copy"), count("shop"));
    // A role that policies bind.
    run(
        &mut shop.client("postgres"),
        "CREATE ROLE bound LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public, auth TO bound",
    );
    let refused = shop.commands("pg_dump -U bound -t invoice shop > bound.sql").expect_err("it is bound");
    assert!(refused.contains("query would be affected by row-level security policy"), "{refused}");
    shop.commands("pg_dump -U bound -t invoice --enable-row-security shop > bound.sql; ! grep A-1 bound.sql")
        .expect("no rows");
    run(&mut shop.client("postgres"), "DROP OWNED BY bound; DROP ROLE bound");
}

fn tests_of_the_application(shop: &Shop) {
    let output = shop.section("Tests of the application");
    assert!(output.contains("     0\n"), "{output}");
    let [template] = &Page::of_repository(PAGE).blocks("Tests of the application", "sh")[..] else {
        panic!("one block")
    };
    run(&mut shop.client("postgres"), "ALTER DATABASE shop_copy SET application_name = 'of the template'");
    shop.commands(template).expect("a database of the template");
    let name = "SELECT setting FROM pg_settings WHERE name = 'application_name'";
    assert_eq!(column(&mut shop.cluster.connect("postgres", "shop_test_1"), name), [""], "settings are not copied");
    let mut app = shop.cluster.connect("app", "shop_test_1");
    assert_eq!(column(&mut app, "SELECT number FROM invoice"), [""; 0]);
    log_in(&mut app, "bob", B);
    assert_eq!(column(&mut app, "SELECT number FROM invoice ORDER BY 1"), ["B-1", "monthly"]);
}

fn copy_and_upserts(shop: &Shop) {
    let output = shop.section("TRUNCATE, COPY and upserts");
    assert!(output.contains("A-1\nA-2\nmonthly\n"), "{output}");
    assert_eq!(
        shop.all(&format!("SELECT number FROM invoice WHERE tenant_id = '{A}' AND NOT paid ORDER BY 1"))[..2],
        ["A-1", "A-2"]
    );
    assert_eq!(shop.all(&format!("SELECT number FROM invoice WHERE tenant_id = '{B}' ORDER BY 1")), ["B-1", "monthly"]);
    let mut app = shop.client("app");
    log_in(&mut app, "alice", A);
    assert_eq!(refused(&mut app, "TRUNCATE invoice").sqlstate, "42501");
    assert_eq!(refused(&mut app, "COPY invoice (number) FROM '/dev/null'").sqlstate, "42501");
}

fn keys(shop: &Shop) {
    shop.section("Unique and foreign keys");
    let mut app = shop.client("app");
    let foreign = shop.all("SELECT id FROM invoice WHERE number = 'B-1'").remove(0);
    let own = shop.all("SELECT id FROM invoice WHERE number = 'A-1'").remove(0);
    log_in(&mut app, "alice", A);
    let line = |invoice: &str| format!("INSERT INTO invoice_line (invoice_id, body) VALUES ('{invoice}', 'x')");
    assert_eq!(refused(&mut app, &line(&foreign)).sqlstate, "23503");
    run(&mut app, &line(&own));
    run(&mut shop.client("app_owner"), "SELECT auth.rls_assert('notice')");
}

fn materialised_views(shop: &Shop) {
    shop.section("Materialised views");
    let mut app = shop.client("app");
    for (tenant, count) in [(A, "3"), (B, "2")] {
        log_in(&mut app, "alice", tenant);
        assert_eq!(column(&mut app, "SELECT invoices FROM my_totals"), [count]);
    }
    assert_eq!(refused(&mut app, "SELECT * FROM invoice_totals").sqlstate, "42501");
    let mut owner = shop.client("app_owner");
    run(&mut owner, "SELECT auth.rls_assert('notice')");
    // An owner whom the policies bind refreshes nothing, or is told.
    run(&mut shop.client("postgres"), "ALTER ROLE app_owner NOBYPASSRLS");
    let error = refused(&mut shop.client("app_owner"), "REFRESH MATERIALIZED VIEW invoice_totals");
    assert!(error.message.contains("query would be affected by row-level security policy"), "{error:?}");
}
