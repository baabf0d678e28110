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
         CREATE POLICY own ON t FOR DELETE USING (owner = current_setting('role'))",
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
    session.run(&format!("SELECT auth.rls_accept('policy_for_everybody', '{OPEN}', NULL)"));
    session.refused("SELECT auth.rls_assert()");
    // A second time there is nothing to take back.
    session.run(&format!("SELECT auth.rls_accept('policy_for_everybody', '{OPEN}', NULL)"));
    session.run("DROP POLICY open ON t");
    assert_eq!(
        session.refused(&format!("SELECT auth.rls_accept('policy_for_everybody', '{OPEN}', NULL)")).sqlstate,
        "42704"
    );
}

#[test]
fn only_findings_are_accepted_and_only_with_a_reason() {
    let (_database, mut session) = database("accept_what");
    for (rule, object) in [("policy_for_everybody", "policy own on table public.t"), ("nothing", OPEN)] {
        let error = session.refused(&accept(rule, object));
        assert_eq!(&*error.sqlstate, "42704");
        assert_eq!(error.message, format!("rule '{rule}' reports nothing of '{object}'"));
    }
    let statement = format!("SELECT auth.rls_accept('policy_for_everybody', '{OPEN}', '')");
    assert_eq!(session.refused(&statement).sqlstate, "22023");
    session.refused("SELECT auth.rls_accept(NULL, NULL, 'x')");
}

#[test]
fn the_owners_of_the_object_and_of_the_database_accept_and_nobody_else() {
    let (database, mut session) = database("accept_who");
    let (mut owner, mut app) = (database.connect("owner"), database.connect("app"));
    let take_back = format!("SELECT auth.rls_accept('policy_for_everybody', '{OPEN}', NULL)");
    let mine = accept("policy_for_everybody", OPEN);
    for statement in [&mine, &take_back] {
        let error = app.refused(statement);
        let message = "must be owner of policy open on table public.t or of the database";
        assert_eq!((&*error.sqlstate, &*error.message), ("42501", message));
    }
    // What is nobody's in this database is its owner's.
    assert_eq!(owner.refused(&accept("function_in_front", "function auth.uid(integer)")).sqlstate, "42704");
    owner.run(&mine);
    assert_eq!(owner.column("SELECT accepted_by FROM auth.rls_accepted"), ["owner"]);
    assert_eq!(app.refused(&take_back).sqlstate, "42501");
    // Everybody reads the entries, and nobody writes or locks them.
    assert_eq!(app.column("SELECT reason FROM auth.rls_accepted"), ["a public list"]);
    for statement in [
        "DELETE FROM auth.rls_accepted",
        "UPDATE auth.rls_accepted SET reason = 'mine'",
        "INSERT INTO auth.rls_accepted SELECT * FROM auth.rls_accepted",
        "TRUNCATE auth.rls_accepted",
        "DO $$ BEGIN LOCK TABLE auth.rls_accepted IN ROW EXCLUSIVE MODE; END $$",
    ] {
        assert_eq!(app.refused(statement).sqlstate, "42501", "{statement}");
        assert_eq!(owner.refused(statement).sqlstate, "42501", "{statement}");
    }
    // It is the role in force that counts, also within a function with the rights of another.
    session.run("SET ROLE app");
    assert_eq!(session.refused(&take_back).sqlstate, "42501");
    session.run("RESET ROLE");
    session.run(&format!(
        "CREATE FUNCTION as_superuser() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ {take_back} $$; GRANT EXECUTE ON FUNCTION as_superuser TO app"
    ));
    assert_eq!(app.refused("SELECT as_superuser()").sqlstate, "42501");
    session.run("GRANT owners TO app; ALTER TABLE t OWNER TO owners");
    app.run(&take_back);
    session.run("REVOKE owners FROM app; ALTER TABLE t OWNER TO owner; ALTER DATABASE accept_who OWNER TO app");
    app.run(&mine);
    // Its object is gone; the database's owner takes it back all the same.
    session.run("DROP POLICY open ON t");
    assert_eq!(owner.refused(&take_back).sqlstate, "42704");
    app.run(&take_back);
    assert_eq!(app.column("SELECT count(*) FROM auth.rls_accepted"), ["0"]);
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
