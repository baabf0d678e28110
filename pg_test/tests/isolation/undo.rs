//! `auth.disable_tenant_isolation` leaves no trace, and a second call changes nothing.

use crate::server::*;

/// Isolates and undoes, and compares the catalogues and the dump. The undoing comes after `meanwhile`, which must not
/// leave a trace itself.
#[track_caller]
fn undone(name: &str, schema: &str, arguments: &str, meanwhile: &str) {
    let database = Database::new(name);
    let mut session = database.superuser();
    session.run(schema);
    let (catalogue, dump) = (database.catalogue(), database.schema());
    session.run(&format!("SELECT auth.enable_tenant_isolation({arguments})"));
    assert_ne!(database.schema(), dump);
    session.run(meanwhile);
    let table = arguments.split("', '").next().expect("a table").trim_end_matches('\'');
    session.run(&format!("SELECT auth.disable_tenant_isolation({table}')"));
    same(&database.catalogue(), &catalogue);
    assert_eq!(database.schema(), dump);
}

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, tenant_id uuid, body text DEFAULT 'x');";

#[test]
fn a_plain_table_is_what_it_was() {
    undone("undo_plain", T, "'t'", "");
}

#[test]
fn flags_defaults_policies_and_comments_are_what_they_were() {
    let more = "
        ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        ALTER TABLE t ALTER tenant_id SET DEFAULT gen_random_uuid(), ALTER tenant_id SET NOT NULL;
        CREATE INDEX ON t (tenant_id);
        CREATE POLICY own ON t USING (body = auth.user_id()); COMMENT ON POLICY own ON t IS 'own';
        COMMENT ON TABLE t IS 'a table'; COMMENT ON COLUMN t.tenant_id IS 'a column';";
    undone("undo_enabled", &format!("{T}{more}"), "'t'", "");
    undone("undo_forced", &format!("{T}{more} ALTER TABLE t FORCE ROW LEVEL SECURITY"), "'t'", "");
    undone("undo_forced_only", &format!("{T} ALTER TABLE t FORCE ROW LEVEL SECURITY"), "'t'", "");
    undone(
        "undo_own_default",
        &format!("{T} ALTER TABLE t ALTER tenant_id SET DEFAULT get_current_user_tenant_id()"),
        "'t'",
        "",
    );
    undone("undo_identity", "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)", "'t', 'id'", "");
    undone("undo_generated", "CREATE TABLE t (k text, o text GENERATED ALWAYS AS (k || 'x') STORED)", "'t', 'o'", "");
}

#[test]
fn tables_of_each_kind_are_what_they_were() {
    undone("undo_text", "CREATE TABLE t (o text)", "'t', 'o'", "");
    undone("undo_varchar", "CREATE TABLE t (o varchar(36))", "'t', 'o'", "");
    undone("undo_int", "CREATE TABLE t (o int)", "'t', 'o'", "");
    undone("undo_smallint", "CREATE TABLE t (o smallint)", "'t', 'o'", "");
    undone("undo_bigint", "CREATE TABLE t (o bigint)", "'t', 'o'", "");
    undone("undo_domain", "CREATE DOMAIN d AS bigint CHECK (VALUE > 0); CREATE TABLE t (o d)", "'t', 'o'", "");
    undone("undo_domain_default", "CREATE DOMAIN d AS text DEFAULT 'x'; CREATE TABLE t (o d)", "'t', 'o'", "");
    let partitioned = "CREATE TABLE t (tenant_id uuid) PARTITION BY HASH (tenant_id);
                       CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0);
                       ALTER TABLE t1 ALTER tenant_id SET DEFAULT gen_random_uuid()";
    undone("undo_partitioned", partitioned, "'t'", "");
    let inherited = format!("{T} CREATE TABLE child () INHERITS (t)");
    undone("undo_inherited", &inherited, "'t'", "");
    undone("undo_child", &inherited, "'child'", "");
}

#[test]
fn names_that_need_quoting_do_no_harm() {
    let schema = r#"
        CREATE SCHEMA "My App";
        CREATE TABLE "My App"."a.b" (id int, "Ten, ant" uuid);
        CREATE TABLE "My App"."it's ""q"" %s \" (id int, "%I ' "" $1" int);"#;
    undone("undo_quoted", schema, r#"'"My App"."a.b"', 'Ten, ant'"#, "");
    undone("undo_odd", schema, r#"'"My App"."it''s ""q"" %s \"', '%I '' " $1'"#.replace(" ''s", "''s").as_str(), "");
}

#[test]
fn renames_between_do_not_matter() {
    let back =
        "ALTER TABLE t RENAME tenant_id TO \"Org\"; ALTER TABLE t RENAME TO \"T\"; ALTER TABLE \"T\" RENAME TO t;";
    let database = Database::new("undo_renamed");
    let mut session = database.superuser();
    session.run(&format!("{T} CREATE SCHEMA other"));
    let catalogue = database.catalogue();
    session.run("SELECT auth.enable_tenant_isolation('t')");
    session.run(back);
    session.run("ALTER TABLE t SET SCHEMA other; SELECT auth.enable_tenant_isolation('other.t', 'Org')");
    session.run("SELECT auth.disable_tenant_isolation('other.t')");
    session.run("ALTER TABLE other.t SET SCHEMA public; ALTER TABLE t RENAME \"Org\" TO tenant_id");
    same(&database.catalogue(), &catalogue);
}

#[test]
fn a_second_call_changes_nothing() {
    let database = Database::new("twice");
    let mut session = database.superuser();
    for schema in [T, "CREATE TABLE u (tenant_id int DEFAULT 1); CREATE POLICY own ON u USING (true);"] {
        session.run(schema);
        let table = if schema == T { "t" } else { "u" };
        let enable = format!("SELECT auth.enable_tenant_isolation('{table}')");
        session.run(&enable);
        let (catalogue, dump) = (database.catalogue(), database.schema());
        session.run(&enable);
        session.run(&format!(
            "BEGIN; {enable}; {enable}; COMMIT; BEGIN; SELECT auth.disable_tenant_isolation('{table}'); ROLLBACK"
        ));
        same(&database.catalogue(), &catalogue);
        assert_eq!(database.schema(), dump);
    }
}

#[test]
fn a_second_call_mends_what_was_changed() {
    let database = Database::new("mended");
    let mut session = database.superuser();
    session.run(T);
    let before = database.catalogue();
    session.run("SELECT auth.enable_tenant_isolation('t')");
    let (catalogue, dump) = (database.catalogue(), database.schema());
    session.run(
        "SET pg_jwks.protect_isolation = off; ALTER TABLE t DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
         ALTER POLICY tenant_isolation ON t TO app USING (tenant_id IS NOT NULL) WITH CHECK (tenant_id IS NULL);
         SELECT auth.enable_tenant_isolation('t');",
    );
    same(&database.catalogue(), &catalogue);
    assert_eq!(database.schema(), dump);
    session.run("SELECT auth.disable_tenant_isolation('t')");
    same(&database.catalogue(), &before);
}

#[test]
fn what_others_did_meanwhile_stays() {
    let database = Database::new("meanwhile");
    let mut session = database.superuser();
    session.run(&format!("{T} SELECT auth.enable_tenant_isolation('t')"));
    session.run("ALTER TABLE t ALTER tenant_id SET DEFAULT gen_random_uuid(); CREATE POLICY own ON t USING (body = auth.user_id())");
    let notes = session.notes("SELECT auth.disable_tenant_isolation('t')");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!((&*notes[0].severity, &*notes[0].message), ("WARNING", "policies of table public.t have no effect"));
    let query = "SELECT format('%s %s %s', relrowsecurity, pg_get_expr(adbin, adrelid), polname)
                 FROM pg_class c JOIN pg_attrdef ON adrelid = c.oid JOIN pg_policy ON polrelid = c.oid WHERE relname = 't' AND adnum = 2";
    assert_eq!(session.column(query), ["f gen_random_uuid() own"]);
    session.run(notes[0].hint.as_deref().expect("a hint"));
    assert_eq!(session.column(query), ["t gen_random_uuid() own"]);
}

#[test]
fn what_was_never_enabled_is_left_alone() {
    let database = Database::new("never");
    let mut session = database.superuser();
    session.run(&format!(
        "{T} CREATE VIEW v AS TABLE t; ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    ));
    let before = database.catalogue();
    for name in ["t", "v"] {
        let notes = session.notes(&format!("SELECT auth.disable_tenant_isolation('{name}')"));
        assert_eq!(notes.len(), 1, "{notes:?}");
        let expected = format!("tenant isolation is not enabled for public.{name}");
        assert_eq!((&*notes[0].severity, &*notes[0].message), ("NOTICE", &*expected));
    }
    same(&database.catalogue(), &before);
}

#[test]
fn what_is_not_known_any_more_is_not_guessed() {
    let database = Database::new("unknown");
    let mut session = database.superuser();
    session
        .run(&format!("{T} SELECT auth.enable_tenant_isolation('t'); SET pg_jwks.protect_isolation = off; COMMENT ON POLICY tenant_isolation ON t IS NULL"));
    let before = database.catalogue();
    let error = session.refused("SELECT auth.disable_tenant_isolation('t')");
    assert_eq!((&*error.sqlstate, error.hint.as_deref()), ("55000", Some("DROP POLICY tenant_isolation ON public.t;")));
    same(&database.catalogue(), &before);
}

#[test]
fn a_hostile_search_path_changes_nothing() {
    let database = Database::new("hostile");
    let mut owner = database.connect("owner");
    owner.run(
        "CREATE TABLE t (tenant_id uuid);
         CREATE FUNCTION raise() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''called''; END';
         CREATE FUNCTION evil(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT raise()';
         CREATE OPERATOR = (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil);
         CREATE FUNCTION format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT raise()::text';
         CREATE FUNCTION pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT raise()';
         CREATE TABLE pg_policy (polrelid oid, polname name); CREATE TABLE pg_class (oid oid);",
    );
    let mut session = database.superuser();
    session.run("SET search_path = public, pg_catalog; SELECT auth.enable_tenant_isolation('t')");
    assert_eq!(session.column("SELECT * FROM auth.rls_lint()").len(), 1);
    let operator = "SELECT count(*) FROM pg_catalog.pg_depend WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::regclass
                    AND refclassid OPERATOR(pg_catalog.=) 'pg_operator'::regclass";
    assert_eq!(session.value::<i64>(operator), 0);
    session.run("SELECT auth.disable_tenant_isolation('t')");
}

#[test]
fn the_extension_stays_while_tables_are_isolated() {
    let database = Database::new("stays");
    let mut session = database.superuser();
    session.run(&format!("{T} SELECT auth.enable_tenant_isolation('t')"));
    for drop in ["DROP EXTENSION pg_jwks", "DROP EXTENSION pg_jwks CASCADE", "DROP EXTENSION plpgsql, pg_jwks CASCADE"]
    {
        let error = session.refused(drop);
        assert_eq!((&*error.sqlstate, &*error.message), ("55006", "table public.t is isolated by tenant"));
        let hint = error.hint.expect("a hint");
        assert!(hint.starts_with("SELECT auth.disable_tenant_isolation('public.t');"), "{hint}");
    }
    session.run("SET pg_jwks.protect_isolation = off");
    assert_eq!(session.refused("DROP EXTENSION pg_jwks").sqlstate, "2BP01");
    session.run("SELECT auth.disable_tenant_isolation('t'); DROP EXTENSION pg_jwks");
}

#[test]
fn two_calls_at_once_come_one_after_the_other() {
    let database = Database::new("at_once");
    let mut first = database.superuser();
    first.run(T);
    first.run("BEGIN; SELECT auth.enable_tenant_isolation('t')");
    let waiting = std::thread::scope(|scope| {
        let second = scope.spawn(|| database.superuser().run("SELECT auth.enable_tenant_isolation('t')"));
        let mut observer = database.superuser();
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
        while observer.value::<i64>(waits) == 0 {
            assert!(!second.is_finished(), "the second call did not wait");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        first.run("COMMIT");
        second.join()
    });
    waiting.expect("the second call succeeds");
    assert_eq!(first.value::<i64>("SELECT count(*) FROM pg_policy"), 1);
}

/// What one function makes, the other must know again.
#[test]
fn both_functions_know_defaults_and_notes_by_the_same_constants() {
    let mut session = Database::new("constants").superuser();
    for constant in ["own_default", "note"] {
        let definitions = session.column(&format!(
            "SELECT substring(prosrc, '{constant} CONSTANT text := [^\\n]+;') FROM pg_proc
              WHERE proname IN ('enable_tenant_isolation', 'disable_tenant_isolation')"
        ));
        assert_eq!(definitions.len(), 2, "{definitions:?}");
        assert_eq!(definitions[0], definitions[1]);
    }
}
