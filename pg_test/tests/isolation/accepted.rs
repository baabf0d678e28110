//! `auth.rls_assert`, the gate of a deployment, and `auth.rls_accept`, for findings that are meant.

use pg_test::process::run;

use crate::server::*;

const OPEN: &str = "policy open on table public.t";

/// A table with an error, a warning and a notice.
fn database(name: &str) -> (Database, Session) {
    let database = Database::new(name);
    let mut session = database.superuser();
    session.run(
        "CREATE TABLE t (owner text, tenant_id uuid PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         ALTER TABLE t OWNER TO owner; CREATE POLICY open ON t FOR SELECT USING (true);
         CREATE POLICY own ON t FOR DELETE USING (owner = auth.jwt() ->> 'sub')",
    );
    (database, session)
}

fn accept(rule: &str, object: &str) -> String {
    format!("SELECT auth.rls_accept('{rule}', '{object}', 'a public list')")
}

const ACCEPTED: &str = "SELECT concat_ws(' | ', severity, rule, accepted) FROM auth.rls_lint()";

#[test]
fn an_assertion_raises_what_is_as_bad_or_worse() {
    let (database, mut session) = database("assert");
    let error = session.refused("SELECT auth.rls_assert()");
    assert_eq!((&*error.sqlstate, &*error.message), ("P0004", "row-level security has 1 fault"));
    let detail = "error: policy open on table public.t lets everybody at every row (policy_for_everybody).";
    assert_eq!(error.detail.as_deref(), Some(detail));
    assert_eq!(session.refused("SELECT auth.rls_assert('warning')").message, "row-level security has 2 faults");
    // Anybody may ask.
    let error = database.connect("app").refused("SELECT auth.rls_assert('notice')");
    assert_eq!(error.message, "row-level security has 3 faults");
    assert_eq!(session.refused("SELECT auth.rls_assert('bad')").sqlstate, "22023");
    assert_eq!(session.refused("SELECT auth.rls_assert(NULL)").sqlstate, "22023");
    session.run("DROP POLICY open ON t; SELECT auth.rls_assert()");
}

/// A migration that catches every exception does not catch this one.
#[test]
fn a_block_that_catches_others_does_not_pass_an_assertion() {
    let (_database, mut session) = database("assert_others");
    let error = session.refused("DO $$ BEGIN PERFORM auth.rls_assert(); EXCEPTION WHEN OTHERS THEN NULL; END $$");
    assert_eq!(error.sqlstate, "P0004");
}

#[test]
fn an_accepted_finding_stays_in_the_list_with_its_reason_and_passes() {
    let (_database, mut session) = database("accept");
    session.run(&accept("policy_for_everybody", OPEN));
    let lines = ["error | policy_for_everybody | a public list", "warning | owner_not_bound", "notice | call_per_row"];
    assert_eq!(session.column(ACCEPTED), lines);
    session.run("SELECT auth.rls_assert()");
    // Once more is a new reason.
    session.run("SELECT auth.rls_accept('policy_for_everybody', 'policy open on table public.t', 'still')");
    assert_eq!(session.column("SELECT reason FROM auth.rls_accepted"), ["still"]);
    // The acceptance is of this rule and this object.
    session.run("ALTER POLICY open ON t RENAME TO other");
    session.refused("SELECT auth.rls_assert()");
    session.run("ALTER POLICY other ON t RENAME TO open; SELECT auth.rls_assert()");
    session.run("DELETE FROM auth.rls_accepted");
    session.refused("SELECT auth.rls_assert()");
}

#[test]
fn only_findings_are_accepted_and_only_with_a_reason() {
    let (_database, mut session) = database("accept_what");
    for (rule, object) in [("policy_for_everybody", "policy own on table public.t"), ("nothing", OPEN)] {
        let error = session.refused(&accept(rule, object));
        assert_eq!(&*error.sqlstate, "42704");
        assert_eq!(error.message, format!("rule '{rule}' reports nothing of '{object}'"));
    }
    for reason in ["NULL", "''"] {
        let statement = format!("SELECT auth.rls_accept('policy_for_everybody', '{OPEN}', {reason})");
        assert_eq!(session.refused(&statement).sqlstate, "22023");
    }
    session.refused("SELECT auth.rls_accept(NULL, NULL, 'x')");
}

#[test]
fn the_owners_of_the_object_and_of_the_database_accept_and_nobody_else() {
    let (database, mut session) = database("accept_who");
    let (mut owner, mut app) = (database.connect("owner"), database.connect("app"));
    let direct =
        format!("INSERT INTO auth.rls_accepted (rule, object, reason) VALUES ('policy_for_everybody', '{OPEN}', 'x')");
    for statement in [accept("policy_for_everybody", OPEN), direct.clone()] {
        let error = app.refused(&statement);
        let message = "must be owner of policy open on table public.t or of the database";
        assert_eq!((&*error.sqlstate, &*error.message), ("42501", message));
    }
    // A finding that is not there is nobody's.
    let absent = direct.replace("policy open", "policy absent");
    assert_eq!(owner.refused(&absent).sqlstate, "42501");
    owner.run(&accept("policy_for_everybody", OPEN));
    assert_eq!(owner.column("SELECT accepted_by FROM auth.rls_accepted"), ["owner"]);
    // Others read it, and take nothing back.
    assert_eq!(app.column("SELECT reason FROM auth.rls_accepted"), ["a public list"]);
    for statement in
        ["DELETE FROM auth.rls_accepted", "UPDATE auth.rls_accepted SET reason = 'mine'", "TRUNCATE auth.rls_accepted"]
    {
        assert_eq!(app.refused(statement).sqlstate, "42501", "{statement}");
    }
    session.run("CREATE TABLE u (tenant_id uuid); ALTER TABLE u OWNER TO app");
    let mine = "UPDATE auth.rls_accepted SET rule = 'table_without_rls', object = 'table public.u'";
    assert_eq!(app.refused(mine).sqlstate, "42501", "the entry is another's");
    // Moving an acceptance to another object needs the right on it.
    let move_it = "UPDATE auth.rls_accepted SET object = 'schema auth'";
    assert_eq!(owner.refused(move_it).sqlstate, "42501");
    owner.run("DELETE FROM auth.rls_accepted");
    session.run(&format!("ALTER DATABASE accept_who OWNER TO app; {}", accept("owner_not_bound", "table public.t")));
    app.run(&accept("policy_for_everybody", OPEN));
    app.run("DELETE FROM auth.rls_accepted");
}

#[test]
fn acceptances_are_dumped_and_restored() {
    let (database, mut session) = database("accept_dump");
    session.run(&accept("policy_for_everybody", OPEN));
    session.run("ALTER DATABASE accept_dump OWNER TO owner");
    let file = dump_file("accepted.dump");
    run(database.program("pg_dump").args(["--format=custom", "--file"]).arg(&file));
    let restored = Database::empty("accept_restored");
    run(restored.program("pg_restore").arg("--exit-on-error").arg(&file));
    let mut session = restored.superuser();
    assert_eq!(session.column(ACCEPTED)[0], "error | policy_for_everybody | a public list");
    session.run("SELECT auth.rls_assert()");
}
