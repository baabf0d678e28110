//! What is only checked is noted with the statement that mends it.

use crate::server::*;

#[track_caller]
fn noted(session: &mut Session, statement: &str, expected: &[(&str, Option<&str>)]) -> Vec<Notice> {
    let notes = session.notes(statement);
    let parts: Vec<_> = notes.iter().map(|note| (note.message.as_str(), note.hint.as_deref())).collect();
    assert_eq!(parts, expected);
    assert!(notes.iter().all(|note| note.severity == "NOTICE"), "{notes:?}");
    notes
}

#[test]
fn null_and_index_are_noted_until_mended() {
    let database = Database::new("noted");
    let mut session = database.superuser();
    session.run(r#"CREATE SCHEMA "My App"; CREATE TABLE "My App"."a.b" (id int, "Ten, ant" uuid);
                   CREATE INDEX ON "My App"."a.b" (id, "Ten, ant"); CREATE INDEX ON "My App"."a.b" ("Ten, ant") WHERE id > 1"#);
    let enable = r#"SELECT auth.enable_tenant_isolation('"My App"."a.b"', 'Ten, ant')"#;
    let notes = noted(
        &mut session,
        enable,
        &[
            (
                r#"column "Ten, ant" of table "My App"."a.b" may be null, and nobody sees rows without tenant"#,
                Some(r#"ALTER TABLE "My App"."a.b" ALTER COLUMN "Ten, ant" SET NOT NULL;"#),
            ),
            (
                r#"table "My App"."a.b" has no index that begins with column "Ten, ant""#,
                Some(r#"CREATE INDEX ON "My App"."a.b" ("Ten, ant");"#),
            ),
        ],
    );
    for note in notes {
        session.run(note.hint.as_deref().expect("a hint"));
    }
    noted(&mut session, enable, &[]);
}

#[test]
fn a_default_that_is_kept_is_noted() {
    let database = Database::new("kept_default");
    let mut session = database.superuser();
    session.run("CREATE TABLE t (tenant_id int PRIMARY KEY DEFAULT 7); CREATE TABLE u (tenant_id text PRIMARY KEY DEFAULT auth.tenant_id())");
    let notes = noted(
        &mut session,
        "SELECT auth.enable_tenant_isolation('t')",
        &[(
            "column tenant_id of table public.t keeps its default 7",
            Some("ALTER TABLE ONLY public.t ALTER COLUMN tenant_id SET DEFAULT auth.tenant_id()::integer;"),
        )],
    );
    session.run(notes[0].hint.as_deref().expect("a hint"));
    noted(&mut session, "SELECT auth.enable_tenant_isolation('t'), auth.enable_tenant_isolation('u')", &[]);
}

#[test]
fn permissive_policies_are_noted() {
    let database = Database::new("noted_policies");
    let mut session = database.superuser();
    session.run("CREATE TABLE t (tenant_id uuid PRIMARY KEY); CREATE POLICY mine ON t USING (true)");
    let message = "table public.t has permissive policies, which still say who sees what within a tenant";
    noted(&mut session, "SELECT auth.enable_tenant_isolation('t')", &[(message, None)]);
    assert!(!session.value::<bool>("SELECT polpermissive FROM pg_policy WHERE polname = 'tenant_isolation'"));
    session.run("CREATE TABLE u (tenant_id uuid PRIMARY KEY); CREATE POLICY mine ON u AS RESTRICTIVE USING (true)");
    noted(&mut session, "SELECT auth.enable_tenant_isolation('u')", &[]);
    let query = "SELECT polpermissive FROM pg_policy WHERE polname = 'tenant_isolation' AND polrelid = 'u'::regclass";
    assert!(session.value::<bool>(query));
}

#[test]
fn partitions_that_others_reach_are_noted_until_they_do_not() {
    let database = Database::new("noted_partitions");
    let mut session = database.superuser();
    session.run(
        "CREATE TABLE t (tenant_id uuid PRIMARY KEY) PARTITION BY HASH (tenant_id);
         CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE \"T1\" PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         GRANT SELECT ON t, t0, \"T1\" TO app; GRANT INSERT ON \"T1\" TO PUBLIC;",
    );
    let enable = "SELECT auth.enable_tenant_isolation('t')";
    let notes = session.notes(enable);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0].message, "policies of table public.t do not hold for who reads its partitions directly");
    let hint = notes[0].hint.as_deref().expect("a hint");
    assert_eq!(
        hint,
        "REVOKE ALL ON public.\"T1\" FROM PUBLIC; REVOKE ALL ON public.\"T1\" FROM app; REVOKE ALL ON public.t0 FROM app;"
    );
    session.run(hint);
    noted(&mut session, enable, &[]);
}

#[test]
fn a_second_call_takes_later_policies_into_account() {
    let database = Database::new("later_policies");
    let mut session = database.superuser();
    session.run("CREATE TABLE t (tenant_id uuid PRIMARY KEY, owner text)");
    let (catalogue, dump) = (database.catalogue(), database.schema());
    let enable = "SELECT auth.enable_tenant_isolation('t')";
    let permissive = "SELECT polpermissive FROM pg_policy WHERE polname = 'tenant_isolation'";
    session.run(enable);
    assert!(session.value::<bool>(permissive));
    session.run("CREATE POLICY own ON t USING (owner = auth.user_id())");
    let message = "table public.t has permissive policies, which still say who sees what within a tenant";
    noted(&mut session, enable, &[(message, None)]);
    assert!(!session.value::<bool>(permissive));
    noted(&mut session, enable, &[]);
    session.run("DROP POLICY own ON t");
    noted(&mut session, enable, &[]);
    assert!(session.value::<bool>(permissive));
    session.run("SELECT auth.disable_tenant_isolation('t')");
    same(&database.catalogue(), &catalogue);
    assert_eq!(database.schema(), dump);
}
