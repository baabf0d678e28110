//! The owner of an isolated table: bound by its policy, and told so, unless the isolation is without force.

use crate::server::*;

/// A table of `owner`'s with a row in each of two tenants.
fn table(database: &Database) -> Session {
    let mut owner = database.connect("owner");
    owner.run("CREATE TABLE t (id int PRIMARY KEY, tenant_id uuid NOT NULL); CREATE INDEX ON t (tenant_id)");
    owner.run(&format!("INSERT INTO t VALUES (1, '{A}'), (2, '{B}'); GRANT ALL ON t TO app"));
    owner
}

fn visible(session: &mut Session) -> Vec<String> {
    session.column("SELECT id FROM t ORDER BY id")
}

/// A migration of the owner's would change nothing and say so to nobody.
#[test]
fn an_owner_who_can_log_in_is_told_that_it_sees_no_rows() {
    let database = Database::new("owner_forced");
    let mut owner = table(&database);
    let notes = owner.notes("SELECT auth.enable_tenant_isolation('t')");
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(note.severity, "NOTICE");
    assert_eq!(note.message, "table public.t shows its owner owner no rows without a tenant either");
    assert_eq!(owner.client.execute("UPDATE t SET id = id", &[]).expect("an update"), 0);
    // The statement of the hint mends it.
    let hint = note.hint.as_deref().expect("a hint");
    let fix = hint.split_once("or ").expect("another way").1.trim_end_matches('.');
    assert_eq!(owner.notes(fix), []);
    assert_eq!(visible(&mut owner), ["1", "2"]);
}

#[test]
fn without_force_the_owner_sees_all_and_nobody_else_does() {
    let database = Database::new("owner_free");
    let mut owner = table(&database);
    assert_eq!(owner.notes("SELECT auth.enable_tenant_isolation('t', force => false)"), []);
    assert_eq!(visible(&mut owner), ["1", "2"]);
    let mut app = database.connect("app");
    assert_eq!(visible(&mut app), [""; 0]);
    for (tenant, expected) in [(A, "1"), (B, "2")] {
        app.log_in(tenant);
        assert_eq!(visible(&mut app), [expected]);
        // An identity does not bind the owner either: a job is not the application.
        owner.log_in(tenant);
        assert_eq!(visible(&mut owner), ["1", "2"]);
    }
    assert_eq!(owner.client.execute("UPDATE t SET id = id + 10", &[]).expect("a migration"), 2);
}

#[test]
fn the_last_call_decides_about_force_and_undoing_restores_what_was_before() {
    let database = Database::new("owner_undone");
    let mut owner = table(&database);
    let before = database.catalogue();
    let forced = "SELECT relforcerowsecurity FROM pg_class WHERE oid = 't'::regclass";
    for (force, expected) in
        [("", true), (", force => false", false), (", force => true", true), (", force => false", false)]
    {
        owner.run(&format!("SELECT auth.enable_tenant_isolation('t'{force})"));
        assert_eq!(owner.value::<bool>(forced), expected, "{force}");
    }
    owner.run("SELECT auth.disable_tenant_isolation('t')");
    same(&database.catalogue(), &before);
    // What was forced before is forced afterwards.
    owner.run("ALTER TABLE t FORCE ROW LEVEL SECURITY");
    owner
        .run("SELECT auth.enable_tenant_isolation('t', 'tenant_id', false); SELECT auth.disable_tenant_isolation('t')");
    assert!(owner.value::<bool>(forced));
}

#[test]
fn owners_whom_policies_do_not_bind_or_who_cannot_log_in_are_not_told() {
    let database = Database::new("owner_quiet");
    let mut admin = database.superuser();
    admin.run("CREATE TABLE t (id int PRIMARY KEY, tenant_id uuid NOT NULL); CREATE INDEX ON t (tenant_id)");
    assert_eq!(admin.notes("SELECT auth.enable_tenant_isolation('t')"), [], "a superuser's");
    admin.run("ALTER TABLE t OWNER TO owners");
    assert_eq!(admin.notes("SELECT auth.enable_tenant_isolation('t')"), [], "a group's");
}
