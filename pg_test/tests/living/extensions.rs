//! pg_cron and pgTAP beside isolated tables.

use std::path::Path;
use std::time::{Duration, Instant};

use pg_test::documents::{Page, repository};
use pg_test::sql::run;

use crate::shop::{B, Shop, options};

#[test]
#[cfg_attr(without_cron, ignore = "the distribution has no pg_cron for this PostgreSQL")]
fn a_job_of_pg_cron_assumes_its_identity() {
    let shop = Shop::new(
        options()
            .setting("shared_preload_libraries", "pg_jwks, pg_cron")
            .setting("cron.database_name", "shop")
            .setting("cron.host", "127.0.0.1"),
    );
    run(
        &mut shop.client("postgres"),
        &format!(
            "CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO worker;
             INSERT INTO invoice (tenant_id, number) VALUES ('{B}', 'monthly')"
        ),
    );
    let blocks = Page::of_repository("docs/tenants.md").blocks("Jobs", "sql");
    let job = blocks.iter().find(|block| block.starts_with("-- as worker, with pg_cron")).expect("the job");
    // Every minute, so that the test need not wait for the night.
    shop.block(&job.replace("0 3 * * *", "* * * * *"));
    let start = Instant::now();
    while shop.all("SELECT count(*) FROM invoice WHERE paid") == ["0"] {
        let runs = "SELECT status || ' ' || return_message FROM cron.job_run_details";
        assert!(start.elapsed() < Duration::from_secs(100), "{:?}", shop.all(runs));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(shop.all("SELECT tenant_id || number FROM invoice WHERE paid"), [format!("{B}monthly")]);
}

#[test]
#[cfg_attr(without_pgtap, ignore = "the distribution has no pgTAP for this PostgreSQL")]
fn the_tests_with_pgtap_pass_and_notice_a_hole() {
    let shop = Shop::with_roles(options());
    shop.section("Migrations");
    let file = repository().join("rls_examples/pgtap/policies.sql");
    let tap =
        |file: &Path| shop.cluster.run_sql_file("postgres", "shop", file).unwrap_or_else(|output| panic!("{output}"));
    let output = tap(&file);
    assert!(output.contains("1..8") && output.contains(" ok 8 "), "{output}");
    assert!(!output.contains("not ok") && !output.contains("Looks like"), "{output}");
    run(&mut shop.client("postgres"), "CREATE POLICY open ON invoice USING (true)");
    let output = tap(&file);
    for failed in ["not ok 1 ", "not ok 2 ", "not ok 4 ", "not ok 5 ", "not ok 6 ", "not ok 7 ", "not ok 8 "] {
        assert!(output.contains(failed), "{failed}: {output}");
    }
}
