//! The membership table: what it may be, and what becomes of the tenant when it changes.

use crate::server::*;
use pg_test::PgError;
use postgres::Client;

/// Each reader must name the setting.
#[track_caller]
pub fn no_lookup(client: &mut Client, sqlstate: &str, detail: &str) {
    let error: PgError = all_fail(client, sqlstate);
    assert!(error.message.starts_with("membership table ") && error.message.ends_with(" cannot be read"), "{error:?}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("pg_jwks.tenant_lookup")), "{error:?}");
    assert!(error.detail.as_ref().is_some_and(|text| text.contains(detail)), "{error:?}");
    assert_eq!(refused(client, "SELECT auth.tenant_ids()").sqlstate, sqlstate);
    assert_eq!(refused(client, &format!("SELECT auth.set_tenant('{RED}')")).sqlstate, sqlstate);
}

#[test]
fn what_is_missing_is_an_error() {
    for (number, (lookup, detail)) in [
        ("public.missing (id, tenant_id)", "does not exist"),
        ("missing.users (id, tenant_id)", "does not exist"),
        ("pg_temp.users (id, tenant_id)", "does not exist"),
        ("public.users (uid, tenant_id)", "no column \"uid\""),
        ("public.users (id, tenant)", "no column \"tenant\""),
        ("public.users (id, ctid)", "no column \"ctid\""),
        ("public.\"Users\" (id, tenant_id)", "does not exist"),
        ("public.users_pkey (id, tenant_id)", "not a lasting table"),
    ]
    .into_iter()
    .enumerate()
    {
        let database = Database::new(&format!("missing_{number}"), USUAL).set("tenant_lookup", lookup);
        let mut client = database.app();
        assert_eq!((tenant(&mut client), tenants(&mut client)), (None, None), "no identity needs no table");
        init(&mut client, ALICE);
        no_lookup(&mut client, "55000", detail);
    }
}

#[test]
fn nobody_but_the_owner_needs_a_right() {
    let database = Database::new("rights", USUAL);
    let mut client = alice(&database);
    assert_eq!(refused(&mut client, "SELECT * FROM users").sqlstate, "42501");
    assert_eq!(notes(&mut client), [1, 3]);
    let mut dba = database.dba();
    run(&mut dba, "REVOKE ALL ON users FROM dba");
    no_lookup(&mut client, "42501", "permission denied for table users");
    run(&mut dba, "GRANT SELECT ON users TO dba");
    assert_eq!(notes(&mut client), [1, 3]);
    run(
        &mut database.superuser(),
        "GRANT CREATE ON SCHEMA public TO other WITH GRANT OPTION; ALTER TABLE users OWNER TO other",
    );
    assert_eq!(notes(&mut client), [1, 3]);
    // After an error the session's user is the one before.
    run(&mut database.superuser(), "REVOKE ALL ON users FROM other");
    no_lookup(&mut client, "42501", "permission denied for table users");
    assert_eq!(value::<String>(&mut client, "SELECT concat(session_user, current_user)"), "appapp");
    run(
        &mut client,
        "DO $$BEGIN PERFORM auth.tenant_id(); EXCEPTION WHEN insufficient_privilege THEN
             IF current_user <> 'app' OR current_setting('search_path') <> '\"$user\", public' THEN RAISE 'left behind'; END IF;
         END$$",
    );
    assert_eq!(refused(&mut client, "SELECT * FROM users").sqlstate, "42501");
}

#[test]
fn names_may_need_quotes() {
    let schema = format!(
        r#"CREATE SCHEMA "My ""Schema"; CREATE TABLE "My ""Schema"."a.b; --" ("User" uuid PRIMARY KEY, "sel""ect" uuid);
           INSERT INTO "My ""Schema"."a.b; --" VALUES ('{ALICE}', '{RED}')"#
    );
    let database = Database::of_superuser("quoted", &schema)
        .set("tenant_lookup", r#""My ""Schema"."a.b; --" ("User", "sel""ect")"#);
    let mut client = alice(&database);
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
    run(&mut client, &format!("SELECT auth.set_tenant('{RED}')"));
    assert_eq!(tenants(&mut client), Some(vec![RED.into()]));
}

#[test]
fn a_table_that_changes_is_found_again() {
    let database = Database::new("changing", USUAL);
    let mut client = alice(&database);
    let mut dba = database.dba();
    run(&mut client, "PREPARE tenant AS SELECT auth.tenant_id()");
    let mut is = |expected: Option<&str>| {
        assert_eq!(value::<Option<String>>(&mut client, "EXECUTE tenant").as_deref(), expected);
        assert_eq!(tenant(&mut client).as_deref(), expected);
    };
    is(Some(RED));
    run(&mut dba, "ALTER TABLE users RENAME TO former");
    let mut other = alice(&database);
    no_lookup(&mut other, "55000", "does not exist");
    run(&mut dba, &format!("CREATE TABLE users (tenant_id text, id text); INSERT INTO users VALUES ('t', '{ALICE}')"));
    is(Some("t"));
    run(&mut dba, &format!("DROP TABLE users; CREATE TABLE users AS SELECT '{ALICE}'::varchar AS id, 7 AS tenant_id"));
    is(Some("7"));
    run(&mut dba, "ALTER TABLE users ALTER tenant_id TYPE text USING 'x'");
    is(Some("x"));
    run(&mut dba, "ALTER TABLE users ALTER id TYPE uuid USING id::uuid");
    is(Some("x"));
    run(&mut dba, "BEGIN; DROP TABLE users; ALTER TABLE former RENAME TO users; COMMIT");
    is(Some(RED));
    run(&mut dba, "ALTER TABLE users DROP CONSTRAINT users_pkey, ALTER id TYPE text USING id::text");
    is(Some(RED));
    run(&mut dba, "ALTER TABLE users RENAME tenant_id TO former; ALTER TABLE users ADD tenant_id text DEFAULT 'new'");
    is(Some("new"));
    run(&mut dba, "TRUNCATE users");
    is(None);
    run(&mut database.superuser(), "ALTER SCHEMA public RENAME TO former");
    let error = refused(&mut client, "SELECT auth.tenant_id()");
    assert!(error.detail.is_some_and(|detail| detail.contains("does not exist")));
}

/// A session that knew the table before must not go on reading it under its new name.
#[test]
fn a_former_table_does_not_come_back() {
    let database = Database::new("former", USUAL);
    let mut client = alice(&database);
    for (change, problem, undo) in [
        ("ALTER TABLE users RENAME TO former", "does not exist", "ALTER TABLE former RENAME TO users"),
        (
            "ALTER TABLE users RENAME TO former; CREATE TABLE users (id uuid)",
            "no column \"tenant_id\"",
            "DROP TABLE users; ALTER TABLE former RENAME TO users",
        ),
        ("ALTER TABLE users RENAME id TO uid", "no column \"id\"", "ALTER TABLE users RENAME uid TO id"),
        ("CREATE SCHEMA s; ALTER TABLE users SET SCHEMA s", "does not exist", "ALTER TABLE s.users SET SCHEMA public"),
    ] {
        assert_eq!(notes(&mut client), [1, 3]);
        run(&mut database.superuser(), change);
        for _ in 0..2 {
            no_lookup(&mut client, "55000", problem);
        }
        run(&mut database.superuser(), undo);
    }
    assert_eq!(notes(&mut client), [1, 3]);
}

/// In the transaction that makes them, and undone with it.
#[test]
fn a_table_may_change_within_a_transaction() {
    let database = Database::new("changing_inside", USUAL);
    let mut client = database.dba();
    init(&mut client, ALICE);
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
    run(&mut client, "BEGIN; ALTER TABLE users RENAME TO former");
    run(&mut client, &format!("CREATE TABLE users AS SELECT '{ALICE}'::text AS id, 7 AS tenant_id; SAVEPOINT s"));
    assert_eq!(tenant(&mut client).as_deref(), Some("7"));
    run(&mut client, "UPDATE users SET tenant_id = 8");
    assert_eq!(tenant(&mut client).as_deref(), Some("8"));
    run(&mut client, "ROLLBACK TO s");
    assert_eq!(tenant(&mut client).as_deref(), Some("7"));
    run(&mut client, "ROLLBACK");
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
}

#[test]
fn the_setting_of_the_database_counts() {
    let schema = format!("{USUAL} CREATE TABLE members AS SELECT id AS u, 't'::text AS t FROM users");
    let database = Database::new("lookup_of_database", &schema).set("tenant_lookup", "public.members (u, t)");
    assert_eq!(tenant(&mut alice(&database)).as_deref(), Some("t"));
    assert_eq!(
        refused(&mut alice(&database), "SET pg_jwks.tenant_lookup = 'public.note (id, tenant_id)'").sqlstate,
        "42501"
    );
    let mut superuser = database.superuser();
    init(&mut superuser, ALICE);
    for (lookup, own) in [("public.users (id, tenant_id)", RED), ("public.members (u, t)", "t")] {
        run(&mut superuser, &format!("SET pg_jwks.tenant_lookup = '{lookup}'"));
        assert_eq!(tenant(&mut superuser).as_deref(), Some(own));
    }
}

#[test]
fn views_and_partitioned_tables_serve_as_well() {
    let schema = format!(
        "CREATE TABLE member (u uuid, t uuid, active boolean) PARTITION BY LIST (active);
         CREATE TABLE yes PARTITION OF member FOR VALUES IN (true); CREATE TABLE no PARTITION OF member FOR VALUES IN (false);
         INSERT INTO member VALUES ('{ALICE}', '{RED}', true), ('{ALICE}', '{BLUE}', false);
         CREATE VIEW users AS SELECT u AS id, t AS tenant_id FROM member WHERE active;
         CREATE MATERIALIZED VIEW frozen AS SELECT * FROM users"
    );
    let database = Database::new("views", &schema);
    assert_eq!(tenant(&mut alice(&database)).as_deref(), Some(RED));
    let mut superuser = database.superuser();
    init(&mut superuser, ALICE);
    for (lookup, expected) in [("frozen (id, tenant_id)", 1), ("member (u, t)", 2), ("yes (u, t)", 1)] {
        run(&mut superuser, &format!("SET pg_jwks.tenant_lookup = 'public.{lookup}'"));
        assert_eq!(tenants(&mut superuser).map(|tenants| tenants.len()), Some(expected), "{lookup}");
    }
}

/// A view that asks for the tenant would ask for ever.
#[test]
fn a_view_that_depends_on_the_tenant_is_an_error() {
    let schema = format!("{USUAL} CREATE VIEW own AS SELECT * FROM users WHERE tenant_id::text = auth.tenant_id()");
    let database = Database::new("recursive_view", &schema).set("tenant_lookup", "public.own (id, tenant_id)");
    let mut client = alice(&database);
    for _ in 0..2 {
        no_lookup(&mut client, "55000", "depend on the current tenant");
    }
}

/// What a view calls runs as the view's owner, and finds no names of the session's user.
#[test]
fn a_search_path_leads_nowhere() {
    let schema = format!(
        "{USUAL}
         CREATE FUNCTION active(uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN RETURN trusted($1); END$$;
         CREATE FUNCTION trusted(uuid) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
         CREATE FUNCTION qualified(uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN RETURN public.trusted($1); END$$;
         CREATE VIEW careless AS SELECT * FROM users WHERE active(id);
         CREATE VIEW careful AS SELECT * FROM users WHERE qualified(id) AND current_user = 'dba'"
    );
    let database = Database::new("search_path", &schema).set("tenant_lookup", "public.careful (id, tenant_id)");
    run(&mut database.superuser(), "GRANT CREATE ON DATABASE search_path TO app");
    let attack = format!(
        "CREATE SCHEMA IF NOT EXISTS evil;
         CREATE OR REPLACE FUNCTION evil.trusted(uuid) RETURNS boolean LANGUAGE plpgsql AS
             $$BEGIN RAISE 'ran as %', current_user USING ERRCODE = 'XX999'; END$$;
         CREATE OR REPLACE FUNCTION evil.same(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS
             $$BEGIN RAISE 'ran as %', current_user USING ERRCODE = 'XX999'; END$$;
         CREATE OPERATOR evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.same);
         CREATE TABLE evil.users AS SELECT '{ALICE}'::uuid AS id, '{BLUE}'::uuid AS tenant_id;
         CREATE TEMP TABLE users AS SELECT '{ALICE}'::uuid AS id, '{BLUE}'::uuid AS tenant_id;
         CREATE TEMP TABLE careful AS SELECT '{ALICE}'::uuid AS id, '{BLUE}'::uuid AS tenant_id;
         CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
         CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (false);
         SET search_path = pg_temp, evil, pg_catalog, public;"
    );
    let mut client = alice(&database);
    run(&mut client, &attack);
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
    assert_eq!(tenants(&mut client), Some(vec![RED.into()]));
    assert_eq!(value::<String>(&mut client, "SHOW search_path"), "pg_temp, evil, pg_catalog, public");
    let mut superuser = database.superuser();
    init(&mut superuser, ALICE);
    run(
        &mut superuser,
        "SET pg_jwks.tenant_lookup = 'public.careless (id, tenant_id)'; SET search_path = evil, public",
    );
    assert_eq!(refused(&mut superuser, "SELECT auth.tenant_id()").sqlstate, "42883");
    run(&mut superuser, "SET pg_jwks.tenant_lookup = 'public.users (id, tenant_id)'");
    assert_eq!(tenant(&mut superuser).as_deref(), Some(RED));
}

/// The owner of a view has no power over the session in which it is read.
#[test]
fn a_view_cannot_change_the_session() {
    for (number, (statement, sqlstate)) in [
        ("SET ROLE postgres", "42501"),
        ("SET SESSION AUTHORIZATION DEFAULT", "42501"),
        ("CREATE TEMP TABLE planted ()", "42501"),
        ("PERFORM auth.jwt_session_clear()", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = format!(
            "{USUAL}
             CREATE FUNCTION touch(uuid) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN {statement}; RETURN true; END$$;
             CREATE VIEW members AS SELECT * FROM users WHERE touch(id)"
        );
        let database = Database::new(&format!("hostile_view_{number}"), &schema)
            .set("tenant_lookup", "public.members (id, tenant_id)");
        let mut client = alice(&database);
        match client.query("SELECT auth.tenant_id()", &[]) {
            Ok(_) => assert_eq!(sqlstate, "", "{statement}"),
            Err(error) => assert_eq!(pg_test::pg_error(&error).sqlstate, sqlstate, "{statement}: {error:?}"),
        }
        assert_eq!(value::<String>(&mut client, "SELECT concat(session_user, current_user)"), "appapp");
    }
}

/// Policies on the membership table may call the helper that reads it.
#[test]
fn policies_on_the_membership_table_do_not_recurse() {
    for (number, force) in ["NO FORCE", "FORCE"].into_iter().enumerate() {
        let schema = format!(
            "{USUAL}
             ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users {force} ROW LEVEL SECURITY;
             CREATE POLICY colleagues ON users USING (tenant_id = get_current_user_tenant_id());
             GRANT SELECT, INSERT ON users TO app"
        );
        let database = Database::new(&format!("recursion_{number}"), &schema);
        for setting in ["on", "off"] {
            let mut client = alice(&database);
            let colleagues = "SELECT count(*) FROM users";
            assert_eq!(value::<i64>(&mut client, colleagues), 2, "{force}: carol is in red, too");
            assert_eq!(
                refused(&mut client, &format!("INSERT INTO users VALUES ('{ALICE}', '{BLUE}')")).sqlstate,
                "42501"
            );
            run(&mut client, "SELECT auth.jwt_session_clear()");
            assert_eq!(value::<i64>(&mut client, colleagues), 0, "{force}");
            init(&mut client, ALICE);
            run(&mut client, &format!("SET row_security = {setting}"));
            assert_eq!(tenant(&mut client).as_deref(), Some(RED), "{force}, {setting}");
        }
        let mut dba = database.dba();
        init(&mut dba, ALICE);
        assert_eq!(tenant(&mut dba).as_deref(), Some(RED));
        assert_eq!(value::<i64>(&mut dba, "SELECT count(*) FROM users"), if force == "FORCE" { 2 } else { 4 });
    }
}

/// Whoever calls, the lookup is the owner's, and the identity the session's.
#[test]
fn security_definer_functions_see_the_same_tenant() {
    let schema = format!(
        "{USUAL}
         CREATE FUNCTION as_dba() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT auth.tenant_id()';
         CREATE FUNCTION insert_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$BEGIN NEW.tenant_id := get_current_user_tenant_id(); RETURN NEW; END$$;
         CREATE TRIGGER own BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION insert_note()"
    );
    let mut client = alice(&Database::new("definer", &schema));
    assert_eq!(value::<String>(&mut client, "SELECT as_dba()"), RED);
    run(&mut client, &format!("INSERT INTO note VALUES (6, '{BLUE}')"));
    assert_eq!(notes(&mut client), [1, 3, 6]);
}
