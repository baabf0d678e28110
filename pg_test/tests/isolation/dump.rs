//! Dumping and restoring a database with isolated tables.

use pg_test::process::run;

use crate::server::*;

const SCHEMA: &str = r#"
    CREATE SCHEMA "My App"; GRANT USAGE ON SCHEMA "My App" TO app;
    CREATE TABLE "My App"."a.b" (id int PRIMARY KEY, "Ten, ant" uuid);
    CREATE TABLE kept (id int PRIMARY KEY, tenant_id text DEFAULT 'x');
    ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON kept USING (true);
    CREATE TABLE parted (id int, tenant_id bigint) PARTITION BY LIST (id);
    CREATE TABLE part PARTITION OF parted FOR VALUES IN (1, 2);
    GRANT ALL ON "My App"."a.b", kept, parted TO app;"#;

const ENABLE: &str = r#"
    SELECT auth.enable_tenant_isolation('"My App"."a.b"', 'Ten, ant');
    SELECT auth.enable_tenant_isolation('kept'); SELECT auth.enable_tenant_isolation('parted');"#;

const DISABLE: &str = r#"
    SELECT auth.disable_tenant_isolation('"My App"."a.b"');
    SELECT auth.disable_tenant_isolation('kept'); SELECT auth.disable_tenant_isolation('parted');"#;

#[test]
fn a_restored_database_isolates_and_can_be_undone() {
    let database = Database::new("dumped");
    let mut session = database.superuser();
    session.run(SCHEMA);
    let before = database.schema();
    session.run(ENABLE);
    session.run(&format!(
        r#"INSERT INTO "My App"."a.b" VALUES (1, '{A}'), (2, '{B}');
           INSERT INTO kept VALUES (1, '{A}'), (2, '{B}'); INSERT INTO parted VALUES (1, 7), (2, 8)"#
    ));
    let isolated = database.schema();
    for format in ["custom", "plain"] {
        let file = dump_file(&format!("isolated.{format}"));
        run(database.program("pg_dump").args(["--format", format, "--file"]).arg(&file));
        let restored = Database::empty(&format!("restored_{format}"));
        if format == "custom" {
            run(restored.program("pg_restore").arg("--exit-on-error").arg(&file));
        } else {
            run(restored
                .program("psql")
                .args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", "--file"])
                .arg(&file));
        }
        assert_eq!(restored.schema(), isolated);
        let mut app = restored.connect("app");
        let rows =
            r#"SELECT (SELECT array_agg(id) FROM "My App"."a.b")::text || (SELECT array_agg(id) FROM kept)::text"#;
        app.log_in(B);
        assert_eq!(app.column(rows), ["{2}{2}"]);
        app.log_in("7");
        assert_eq!(app.column("SELECT id FROM parted"), ["1"]);
        assert_eq!(app.refused("INSERT INTO parted VALUES (1, 8)").sqlstate, "42501");

        let mut session = restored.superuser();
        let catalogue = restored.catalogue();
        session.run(ENABLE);
        same(&restored.catalogue(), &catalogue);
        session.run(DISABLE);
        assert_eq!(restored.schema(), before);
    }
}

#[test]
fn a_dump_without_comments_isolates_and_says_what_it_lacks() {
    let database = Database::new("uncommented");
    database.superuser().run("CREATE TABLE t (tenant_id uuid PRIMARY KEY); SELECT auth.enable_tenant_isolation('t')");
    let file = dump_file("uncommented.dump");
    run(database.program("pg_dump").args(["--format=custom", "--no-comments", "--file"]).arg(&file));
    let restored = Database::empty("restored_uncommented");
    run(restored.program("pg_restore").arg("--exit-on-error").arg(&file));
    let mut session = restored.superuser();
    assert_eq!(session.refused("SELECT auth.disable_tenant_isolation('t')").sqlstate, "55000");
    assert_eq!(session.refused("SELECT auth.enable_tenant_isolation('t')").sqlstate, "42710");
    assert!(session.value::<bool>("SELECT relforcerowsecurity FROM pg_class WHERE relname = 't'"));
}
