//! An isolated table is only un-isolated by `auth.disable_tenant_isolation`. A schema tool that is asked for one new
//! column may drop the policy and switch row-level security off, and say so to nobody.

use crate::server::*;

const SCHEMA: &str = r#"
    CREATE SCHEMA "My App"; CREATE TABLE "My App"."it's" (id uuid, tenant_id uuid PRIMARY KEY);
    SELECT auth.enable_tenant_isolation('"My App"."it''s"');"#;

/// Each way to take the isolation away, besides dropping the table.
const ATTEMPTS: [&str; 15] = [
    r#"DROP POLICY tenant_isolation ON "My App"."it's""#,
    r#"DROP POLICY IF EXISTS tenant_isolation ON "My App"."it's""#,
    r#"DROP POLICY tenant_isolation ON "it's" CASCADE"#,
    r#"ALTER POLICY tenant_isolation ON "My App"."it's" USING (true)"#,
    r#"ALTER POLICY tenant_isolation ON "My App"."it's" TO app"#,
    r#"ALTER POLICY tenant_isolation ON "My App"."it's" RENAME TO other"#,
    r#"COMMENT ON POLICY tenant_isolation ON "My App"."it's" IS NULL"#,
    r#"COMMENT ON POLICY tenant_isolation ON "My App"."it's" IS 'mine'"#,
    r#"ALTER TABLE "My App"."it's" DISABLE ROW LEVEL SECURITY"#,
    r#"ALTER TABLE "My App"."it's" NO FORCE ROW LEVEL SECURITY"#,
    r#"ALTER TABLE IF EXISTS ONLY "it's" ADD COLUMN a int, DISABLE ROW LEVEL SECURITY"#,
    r#"DO $$ BEGIN EXECUTE 'ALTER TABLE "it''s" DISABLE ROW LEVEL SECURITY'; END $$"#,
    "DROP EXTENSION pg_jwks",
    "DROP EXTENSION IF EXISTS pg_jwks CASCADE",
    r#"ALTER TABLE "My App"."it's" ENABLE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY"#,
];

#[test]
fn what_would_take_the_isolation_away_is_refused_with_the_way_to_do_it() {
    let database = Database::new("guard");
    let mut session = database.superuser();
    session.run(SCHEMA);
    session.run(r#"SET search_path = "My App""#);
    let before = database.catalogue();
    for attempt in ATTEMPTS {
        let error = session.refused(attempt);
        let message = r#"table "My App"."it's" is isolated by tenant"#;
        assert_eq!((&*error.sqlstate, &*error.message), ("55006", message), "{attempt}");
        let hint = r#"SELECT auth.disable_tenant_isolation('"My App"."it''s"'); undoes it. To run the statement all the same: SET pg_jwks.protect_isolation = off."#;
        assert_eq!(error.hint.as_deref(), Some(hint));
        same(&database.catalogue(), &before);
    }
    // In a transaction the error takes back what came before, so that a migration is not half done.
    session.run("BEGIN");
    session.run(r#"ALTER TABLE "it's" ADD COLUMN a int"#);
    session.refused(ATTEMPTS[0]);
    session.run("ROLLBACK");
    same(&database.catalogue(), &before);
}

#[test]
fn everything_else_goes_on() {
    let database = Database::new("guard_others");
    let mut session = database.superuser();
    session.run(SCHEMA);
    session.run(
        r#"SET search_path = "My App"; ALTER TABLE "it's" ADD COLUMN a int, ALTER a SET DEFAULT 1, DROP COLUMN id;
           ALTER TABLE "it's" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
           CREATE POLICY other ON "it's" USING (a = 1); ALTER POLICY other ON "it's" USING (a = 2);
           COMMENT ON POLICY other ON "it's" IS 'mine'; DROP POLICY other ON "it's"; DROP POLICY IF EXISTS other ON "it's";
           ALTER TABLE IF EXISTS missing DISABLE ROW LEVEL SECURITY; DROP POLICY IF EXISTS tenant_isolation ON missing;
           CREATE TABLE own (a int); ALTER TABLE own ENABLE ROW LEVEL SECURITY; CREATE POLICY tenant_isolation ON own USING (true);
           ALTER POLICY tenant_isolation ON own USING (false); COMMENT ON POLICY tenant_isolation ON own IS 'mine';
           ALTER TABLE own DISABLE ROW LEVEL SECURITY; DROP POLICY tenant_isolation ON own;
           ALTER TABLE "it's" RENAME TO its; SELECT auth.enable_tenant_isolation('its', force => false);
           SELECT auth.enable_tenant_isolation('its'); DROP TABLE its; DROP EXTENSION pg_jwks"#,
    );
}

#[test]
fn a_comment_that_says_the_same_is_no_change() {
    let mut session = Database::new("guard_comment").superuser();
    session.run("CREATE TABLE t (tenant_id uuid PRIMARY KEY); SELECT auth.enable_tenant_isolation('t')");
    let comment =
        session.value::<String>("SELECT description FROM pg_description WHERE classoid = 'pg_policy'::regclass");
    session.run(&format!("COMMENT ON POLICY tenant_isolation ON t IS '{comment}'"));
}

/// It protects against accidents: who owns the table can say that it is none.
#[test]
fn with_the_setting_off_the_owner_does_what_he_likes() {
    let database = Database::new("guard_off");
    for (number, attempt) in ATTEMPTS.into_iter().enumerate() {
        let mut session = database.superuser();
        session.run(&format!(
            "DROP SCHEMA IF EXISTS \"My App\" CASCADE; CREATE EXTENSION IF NOT EXISTS pg_jwks; {SCHEMA}
             GRANT USAGE ON SCHEMA \"My App\" TO owner; ALTER TABLE \"My App\".\"it's\" OWNER TO owner"
        ));
        let mut session = if attempt.contains("EXTENSION") { session } else { database.connect("owner") };
        session.run(r#"SET search_path = "My App"; SET pg_jwks.protect_isolation = off"#);
        match attempt {
            "DROP EXTENSION pg_jwks" => assert_eq!(session.refused(attempt).sqlstate, "2BP01", "{number}"),
            _ => session.run(attempt),
        }
    }
}

/// What was done in a session without the library is found afterwards, also where other policies remain.
#[test]
fn what_another_session_took_away_is_reported() {
    let before = "CREATE TABLE t (id uuid, tenant_id uuid PRIMARY KEY, owner text);
        CREATE POLICY own ON t USING (owner = auth.user_id()); SELECT auth.enable_tenant_isolation('t')";
    let policy = "policy tenant_isolation on table public.t";
    for (name, attempt, rule, object) in [
        ("dropped", "DROP POLICY tenant_isolation ON t", "isolation_changed", "table public.t"),
        ("altered", "ALTER POLICY tenant_isolation ON t USING (true)", "isolation_changed", policy),
        ("with_check", "ALTER POLICY tenant_isolation ON t WITH CHECK (true)", "isolation_changed", policy),
        ("or_else", "ALTER POLICY tenant_isolation ON t USING (tenant_id = (SELECT get_current_user_tenant_id()) OR owner = 'x')
            WITH CHECK (tenant_id = (SELECT get_current_user_tenant_id()) OR owner = 'x')", "isolation_changed", policy),
        ("roles", "ALTER POLICY tenant_isolation ON t TO app", "isolation_changed", policy),
        ("disabled", "ALTER TABLE t DISABLE ROW LEVEL SECURITY", "policies_without_rls", "table public.t"),
        ("not_forced", "ALTER TABLE t NO FORCE ROW LEVEL SECURITY", "isolation_changed", "table public.t"),
    ] {
        let mut session = Database::new(&format!("guard_found_{name}")).superuser();
        session.run(before);
        assert_eq!(session.lint(), [], "{name}");
        session.run(&format!("SET pg_jwks.protect_isolation = off; {attempt}"));
        let findings = session.lint();
        let found: Vec<_> = findings.iter().map(|found| (&*found.rule, &*found.object, &*found.severity)).collect();
        assert!(found.contains(&(rule, object, "error")), "{name}: {findings:?}");
        for finding in &findings {
            session.run(&finding.fix);
        }
        assert_eq!(session.lint(), [], "{name}");
    }
}

/// `force => false` was asked for, so its absence is no finding, and a repair keeps it.
#[test]
fn isolation_without_force_is_as_it_was_made() {
    let mut session = Database::new("guard_no_force").superuser();
    session.run(
        "CREATE TABLE t (tenant_id uuid PRIMARY KEY); ALTER TABLE t OWNER TO owner;
         SELECT auth.enable_tenant_isolation('t', force => false)",
    );
    assert_eq!(session.lint(), []);
    session.run("SET pg_jwks.protect_isolation = off; ALTER POLICY tenant_isolation ON t USING (true)");
    let findings = session.lint();
    let fix = "SELECT auth.enable_tenant_isolation('public.t', 'tenant_id', force => false);";
    assert_eq!(findings.last().expect("a finding").fix, fix, "{findings:?}");
    session.run(fix);
    assert_eq!(session.lint(), []);
}

/// The guard and the SQL functions know each other's policies by the same words.
#[test]
fn the_guard_knows_the_note_of_the_functions() {
    let guard = include_str!("../../../src/enforcement/isolation.rs");
    let notes = Database::new("guard_note").superuser().column(
        "SELECT DISTINCT substring(prosrc, 'note CONSTANT text := ''([^'']+)''') FROM pg_proc
          WHERE proname IN ('enable_tenant_isolation', 'disable_tenant_isolation')",
    );
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert!(guard.contains(&format!("const NOTE: &str = \"{note}\";")), "{note}");
}

/// Tables that 0.1.0 isolated have its form, with `(SELECT ...)`.
#[test]
fn the_form_of_0_1_0_is_no_finding_and_a_second_call_brings_the_new_one() {
    for (name, tenant, old, new) in [
        ("uuid", "uuid", "(SELECT get_current_user_tenant_id())", "(tenant_id = get_current_user_tenant_id())"),
        ("text", "text", "(SELECT auth.tenant_id())", "(tenant_id = auth.tenant_id())"),
        ("varchar", "varchar(20)", "(SELECT auth.tenant_id())", "((tenant_id)::text = auth.tenant_id())"),
        (
            "int",
            "int",
            "(SELECT auth.tenant_id()::int)",
            "(tenant_id = ( SELECT (auth.tenant_id())::integer AS tenant_id))",
        ),
    ] {
        let mut session = Database::new(&format!("old_form_{name}")).superuser();
        session.run(&format!(
            "CREATE TABLE t (tenant_id {tenant} PRIMARY KEY); SELECT auth.enable_tenant_isolation('t'); SET pg_jwks.protect_isolation = off;
             ALTER POLICY tenant_isolation ON t USING (tenant_id = {old}) WITH CHECK (tenant_id = {old}); RESET pg_jwks.protect_isolation"
        ));
        assert_eq!(session.lint(), [], "{name}");
        session.run("SELECT auth.enable_tenant_isolation('t')");
        let form = "SELECT DISTINCT unnest(ARRAY[qual, with_check]) FROM pg_policies WHERE tablename = 't'";
        assert_eq!(session.column(form), [new], "{name}");
        assert_eq!(session.lint(), [], "{name}");
    }
}
