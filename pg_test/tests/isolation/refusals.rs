//! What cannot be isolated, and by whom not.

use crate::server::*;
use pg_test::PgError;

/// SQLSTATE, message and hint, where each is one line of PostgreSQL's style.
#[track_caller]
fn parts(error: &PgError) -> (&str, &str, Option<&str>) {
    assert!(!error.message.starts_with(|c: char| c.is_ascii_uppercase()) && !error.message.ends_with('.'), "{error:?}");
    if let Some(detail) = &error.detail {
        assert!(detail.starts_with(|c: char| c.is_ascii_uppercase()) && detail.ends_with('.'), "{error:?}");
    }
    (&error.sqlstate, &error.message, error.hint.as_deref())
}

#[test]
fn only_ordinary_and_partitioned_tables_of_users_are_isolated() {
    let database = Database::new("kinds");
    let mut session = database.superuser();
    session.run(
        "CREATE TABLE t (tenant_id uuid);
         CREATE INDEX i ON t (tenant_id);
         CREATE SEQUENCE s;
         CREATE VIEW v AS TABLE t;
         CREATE MATERIALIZED VIEW m AS TABLE t;
         CREATE TYPE composite AS (tenant_id uuid);
         CREATE TEMP TABLE mine (tenant_id uuid);
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER x FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (tenant_id uuid) SERVER x;
         CREATE TABLE \"P\" (tenant_id uuid) PARTITION BY HASH (tenant_id);
         CREATE TABLE p1 PARTITION OF \"P\" FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY HASH (tenant_id);
         CREATE TABLE p2 PARTITION OF p1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE e (tenant_id uuid); ALTER EXTENSION pg_jwks ADD TABLE e;",
    );
    let before = database.catalogue();
    for (table, sqlstate, message, hint) in [
        ("i", "42809", "public.i is not a table", Some("Name the table")),
        ("s", "42809", "public.s is not a table", Some("Name the table")),
        ("composite", "42809", "public.composite is not a table", Some("Name the table")),
        ("v", "42809", "public.v is not a table", Some("security_invoker")),
        ("m", "42809", "public.m is not a table", Some("security_invoker")),
        ("f", "42809", "public.f is not a table", Some("its own server")),
        ("mine", "42809", "is a temporary table", None),
        ("p1", "42809", "public.p1 is a partition", Some("auth.enable_tenant_isolation('public.\"P\"', 'tenant_id')")),
        ("p2", "42809", "public.p2 is a partition", Some("auth.enable_tenant_isolation('public.\"P\"', 'tenant_id')")),
        ("e", "42809", "public.e belongs to an extension", None),
        ("pg_class", "42501", "pg_catalog.pg_class belongs to the system", None),
        ("information_schema.sql_features", "42501", "belongs to the system", None),
        ("0", "42P01", "relation with OID 0 does not exist", None),
        ("4000000000", "42P01", "relation with OID 4000000000 does not exist", None),
    ] {
        let error = session.refused(&format!("SELECT auth.enable_tenant_isolation('{table}')"));
        let (is_state, is_message, is_hint) = parts(&error);
        assert_eq!(is_state, sqlstate, "{table}: {error:?}");
        assert!(is_message.ends_with(message), "{table}: {error:?}");
        match hint {
            Some(words) => assert!(is_hint.is_some_and(|hint| hint.contains(words)), "{table}: {error:?}"),
            None => assert_eq!(is_hint, None, "{table}"),
        }
    }
    for call in [
        "enable_tenant_isolation(NULL)",
        "enable_tenant_isolation('t', NULL)",
        "enable_tenant_isolation('t', force => NULL)",
        "disable_tenant_isolation(NULL)",
    ] {
        assert_eq!(session.refused(&format!("SELECT auth.{call}")).sqlstate, "22004", "{call}");
    }
    assert_eq!(session.refused("SELECT auth.disable_tenant_isolation(4000000000)").sqlstate, "42P01");
    same(&database.catalogue(), &before);
}

#[test]
fn a_tenant_column_is_needed_of_a_type_that_a_tenant_has() {
    let database = Database::new("columns");
    let mut session = database.superuser();
    session.run(
        "CREATE TABLE t (n numeric, c char(36), j jsonb, ts timestamptz, a uuid[], gone uuid, tenant text);
         ALTER TABLE t DROP COLUMN gone;
         CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         ALTER TABLE t ADD l text COLLATE loose;",
    );
    let before = database.catalogue();
    let error = session.refused("SELECT auth.enable_tenant_isolation('t')");
    assert_eq!(parts(&error).1, "column tenant_id of table public.t does not exist");
    for (column, sqlstate) in [
        ("tenant_id", "42703"),
        ("gone", "42703"),
        ("........pg.dropped.6........", "42703"),
        ("ctid", "42703"),
        ("Tenant", "42703"),
        ("n", "42804"),
        ("c", "42804"),
        ("j", "42804"),
        ("ts", "42804"),
        ("a", "42804"),
        ("l", "0A000"),
    ] {
        let error = session.refused(&format!("SELECT auth.enable_tenant_isolation('t', '{column}')"));
        assert_eq!(parts(&error).0, sqlstate, "{column}: {error:?}");
    }
    same(&database.catalogue(), &before);
}

#[test]
fn only_who_has_the_owner_s_rights_isolates() {
    let database = Database::new("owners");
    let mut session = database.superuser();
    session.run(
        "CREATE TABLE t (tenant_id uuid NOT NULL PRIMARY KEY); GRANT ALL ON t TO PUBLIC;
         CREATE TABLE grouped (tenant_id uuid NOT NULL PRIMARY KEY); ALTER TABLE grouped OWNER TO owners;
         CREATE TABLE own (tenant_id uuid NOT NULL PRIMARY KEY); ALTER TABLE own OWNER TO owner;",
    );
    let before = database.catalogue();
    let mut app = database.connect("app");
    for table in ["t", "grouped", "own"] {
        for function in ["enable", "disable"] {
            let error = app.refused(&format!("SELECT auth.{function}_tenant_isolation('{table}')"));
            let (sqlstate, message, hint) = parts(&error);
            assert_eq!((sqlstate, message), ("42501", &*format!("must be owner of table public.{table}")));
            assert!(hint.is_some_and(|hint| hint.starts_with("Its owner is ")), "{error:?}");
        }
    }
    same(&database.catalogue(), &before);
    for (user, table) in [("owner", "own"), ("member", "grouped"), ("postgres", "own"), ("postgres", "t")] {
        let mut session = database.connect(user);
        session.run(&format!("SELECT auth.enable_tenant_isolation('{table}')"));
        assert!(
            session.value::<bool>(&format!("SELECT relforcerowsecurity FROM pg_class WHERE oid = '{table}'::regclass"))
        );
        session.run(&format!("SELECT auth.disable_tenant_isolation('{table}')"));
    }
    same(&database.catalogue(), &before);
}

#[test]
fn a_policy_of_somebody_else_is_left_alone() {
    let database = Database::new("foreign_policy");
    let mut session = database.superuser();
    session
        .run("CREATE TABLE t (tenant_id uuid NOT NULL PRIMARY KEY); CREATE POLICY tenant_isolation ON t USING (false)");
    for comment in ["NULL", "'mine'", "'Made by auth.enable_tenant_isolation. Before: {} or so'"] {
        session.run(&format!("COMMENT ON POLICY tenant_isolation ON t IS {comment}"));
        let before = database.catalogue();
        let error = session.refused("SELECT auth.enable_tenant_isolation('t')");
        assert_eq!(
            (&*error.sqlstate, &*error.message),
            ("42710", "table public.t has another policy tenant_isolation")
        );
        assert_eq!(session.refused("SELECT auth.disable_tenant_isolation('t')").sqlstate, "55000");
        same(&database.catalogue(), &before);
    }
    let hint = session.refused("SELECT auth.enable_tenant_isolation('t')").hint.expect("a hint");
    session.run(&hint);
    session.run("SELECT auth.enable_tenant_isolation('t')");
}

#[test]
fn another_column_is_not_taken_silently() {
    let database = Database::new("other_column");
    let mut session = database.superuser();
    session.run("CREATE TABLE t (tenant_id uuid, org uuid); SELECT auth.enable_tenant_isolation('t')");
    let before = database.catalogue();
    let error = session.refused("SELECT auth.enable_tenant_isolation('t', 'org')");
    assert_eq!((&*error.sqlstate, &*error.message), ("55000", "table public.t is isolated by another column"));
    same(&database.catalogue(), &before);
    session.run(&error.hint.expect("a hint"));
    session.run("SELECT auth.enable_tenant_isolation('t', 'org')");
}
