//! Whose table says which tenants there are, and who may name it.

use postgres::Client;

use pg_test::sql::run_with_grants;

use crate::definitions::no_lookup;
use crate::server::*;

#[test]
fn whoever_may_create_in_the_schema_of_a_missing_table_decides_nothing() {
    let database = Database::new("forged", &format!("{USUAL} DROP TABLE users"));
    let mut client = alice(&database);
    no_lookup(&mut client, "55000", "does not exist");
    let mut mallory = database.mallory();
    let rows = format!("SELECT '{ALICE}'::uuid AS id, '{BLUE}'::uuid AS tenant_id");
    run(&mut mallory, &format!("CREATE TABLE hers AS {rows}; CREATE TABLE parts (LIKE hers) PARTITION BY LIST (id)"));
    for (create, drop) in [
        (format!("CREATE TABLE users AS {rows}"), "DROP TABLE users"),
        ("CREATE TABLE users PARTITION OF parts DEFAULT".into(), "DROP TABLE users"),
        ("CREATE TABLE users () INHERITS (hers)".into(), "DROP TABLE users"),
        ("CREATE VIEW users AS TABLE hers".into(), "DROP VIEW users"),
        ("CREATE MATERIALIZED VIEW users AS TABLE hers".into(), "DROP MATERIALIZED VIEW users"),
    ] {
        run(&mut mallory, &create);
        no_lookup(&mut client, "55000", "owner \"mallory\"");
        no_lookup(&mut alice(&database), "55000", "owner \"mallory\"");
        run(&mut mallory, drop);
        no_lookup(&mut client, "55000", "does not exist");
    }
}

/// The owners that are meant: of the schema, of the database, who may grant CREATE, members of these, and superusers.
#[test]
fn the_tables_owner_must_be_trusted_with_its_schema() {
    let database = Database::new("trusted_owners", USUAL);
    let mut superuser = database.superuser();
    let mut client = alice(&database);
    run(&mut superuser, "ALTER TABLE users OWNER TO mallory");
    no_lookup(&mut client, "55000", "owner \"mallory\"");
    for (trust, end) in [
        ("ALTER SCHEMA public OWNER TO mallory", "ALTER SCHEMA public OWNER TO postgres"),
        ("ALTER DATABASE trusted_owners OWNER TO mallory", "ALTER DATABASE trusted_owners OWNER TO postgres"),
        (
            "CREATE ROLE steward; ALTER SCHEMA public OWNER TO steward; GRANT steward TO mallory",
            "ALTER SCHEMA public OWNER TO postgres; DROP ROLE steward",
        ),
        ("ALTER TABLE users OWNER TO postgres", "ALTER TABLE users OWNER TO mallory"),
        (
            "GRANT CREATE ON SCHEMA public TO mallory WITH GRANT OPTION",
            "REVOKE GRANT OPTION FOR CREATE ON SCHEMA public FROM mallory",
        ),
    ] {
        run(&mut superuser, trust);
        assert_eq!(notes(&mut client), [1, 3], "{trust}");
        run(&mut superuser, end);
        no_lookup(&mut client, "55000", "owner \"mallory\"");
    }
    // The schema of the table counts, and no other.
    run(
        &mut superuser,
        "CREATE SCHEMA hers AUTHORIZATION mallory; GRANT CREATE ON SCHEMA public TO mallory; SET ROLE mallory;
         CREATE TABLE hers.users AS TABLE public.users; RESET ROLE",
    );
    no_lookup(&mut client, "55000", "owner \"mallory\"");
    init(&mut superuser, ALICE);
    run(&mut superuser, "SET pg_jwks.tenant_lookup = 'hers.users (id, tenant_id)'");
    assert_eq!(tenant(&mut superuser).as_deref(), Some(RED));
}

#[test]
fn tables_of_the_system_are_refused_when_they_are_set() {
    let database = Database::new("system_tables", USUAL);
    let mut superuser = database.superuser();
    init(&mut superuser, ALICE);
    for lookup in [
        "pg_catalog.pg_authid (rolconnlimit, rolpassword)",
        "PG_Catalog.pg_authid (rolname, rolpassword)",
        "\"pg_catalog\".pg_user_mapping (oid, umoptions)",
        "information_schema.tables (table_schema, table_name)",
        "pg_toast.pg_toast_2604 (chunk_id, chunk_data)",
    ] {
        for set in ["SET", "ALTER DATABASE system_tables SET", "ALTER ROLE app SET"] {
            let error = refused(&mut superuser, &format!("{set} pg_jwks.tenant_lookup = '{lookup}'"));
            assert_eq!(error.sqlstate, "22023", "{set} {lookup}");
            assert!(error.detail.as_ref().is_some_and(|text| text.contains("is the system's")), "{error:?}");
        }
    }
    assert_eq!(tenant(&mut superuser).as_deref(), Some(RED));
}

/// A database with a table of secrets of the superuser's. Role `name` has been granted the setting.
fn with_secrets(name: &str) -> Database {
    let secrets = format!(
        "{USUAL} CREATE ROLE {name} LOGIN; GRANT SET ON PARAMETER pg_jwks.tenant_lookup TO {name};
         CREATE TABLE secret (owner uuid, word text); INSERT INTO secret VALUES ('{ALICE}', 'xyzzy');
         CREATE VIEW shown AS TABLE secret"
    );
    let database = Database::new(name, "");
    run_with_grants(&mut database.superuser(), &secrets);
    database
}

fn names_secret(client: &mut Client, relation: &str) {
    run(client, &format!("SELECT auth.init(); SET pg_jwks.tenant_lookup = 'public.{relation} (owner, word)'"));
    init(client, ALICE);
}

#[test]
fn who_is_granted_the_setting_reads_only_what_it_may_select() {
    let database = with_secrets("setter");
    let mut superuser = database.superuser();
    let mut setter = SERVER.connect("setter", database.name());
    for relation in ["secret", "shown"] {
        names_secret(&mut setter, relation);
        no_lookup(&mut setter, "42501", "\"setter\" may have named it");
    }
    names_secret(&mut setter, "secret");
    // Both columns count.
    run(&mut superuser, "GRANT SELECT (owner) ON secret TO setter");
    no_lookup(&mut setter, "42501", "\"setter\" may have named it");
    run(&mut superuser, "GRANT SELECT (word) ON secret TO setter");
    assert_eq!(tenant(&mut setter).as_deref(), Some("xyzzy"));
    // A right that is gone is gone.
    run(&mut superuser, "REVOKE SELECT (owner, word) ON secret FROM setter; GRANT SELECT ON secret TO PUBLIC");
    assert_eq!(tenant(&mut setter).as_deref(), Some("xyzzy"));
    // Policies that hide rows from the setter are not lifted by the look-up.
    run(&mut superuser, "ALTER TABLE secret ENABLE ROW LEVEL SECURITY");
    no_lookup(&mut setter, "42501", "\"setter\" may have named it");
    run(&mut superuser, "ALTER TABLE secret DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON secret FROM PUBLIC");
    no_lookup(&mut setter, "42501", "\"setter\" may have named it");
    // Another role, in the same session, is not asked; who set it is.
    run(&mut superuser, "GRANT app TO setter; GRANT SELECT ON secret TO app");
    run(&mut setter, "SET ROLE app");
    assert_eq!(tenant(&mut setter).as_deref(), Some("xyzzy"), "setter is a member of app");
    run(&mut superuser, "REVOKE app FROM setter");
    no_lookup(&mut setter, "42501", "\"setter\" may have named it");
    run(&mut setter, "RESET ROLE; RESET pg_jwks.tenant_lookup");
    assert_eq!(tenant(&mut setter).as_deref(), Some(RED), "the default is nobody's choice");
}

/// PostgreSQL does not say who has used ALTER ROLE or ALTER DATABASE.
#[test]
fn no_form_of_set_reads_more() {
    let database = with_secrets("indirect");
    let mut superuser = database.superuser();
    let session = || {
        let mut client = SERVER.connect("indirect", "indirect");
        run(&mut client, "SELECT auth.init()");
        client
    };
    let secret = "pg_jwks.tenant_lookup = 'public.secret (owner, word)'";
    for set in [
        format!("ALTER ROLE indirect SET {secret}"),
        format!("ALTER ROLE indirect IN DATABASE indirect SET {secret}"),
        format!("ALTER DATABASE indirect SET {secret}"),
    ] {
        run(&mut superuser, "ALTER DATABASE indirect OWNER TO indirect");
        run(&mut session(), &set);
        let mut client = session();
        init(&mut client, ALICE);
        no_lookup(&mut client, "42501", "\"indirect\" may have named it");
        // A superuser's choice that they can read is in order.
        run(&mut superuser, "GRANT SELECT ON secret TO indirect");
        assert_eq!(tenant(&mut client).as_deref(), Some("xyzzy"), "{set}");
        run(&mut superuser, "REVOKE SELECT ON secret FROM indirect");
        run(&mut session(), &set.replace(&format!("SET {secret}"), "RESET pg_jwks.tenant_lookup"));
    }
    let mut client = session();
    run(
        &mut client,
        &format!(
            "CREATE FUNCTION pg_temp.own() RETURNS text LANGUAGE plpgsql SET {secret} AS 'BEGIN RETURN auth.tenant_id(); END'"
        ),
    );
    run(&mut client, &format!("BEGIN; SET LOCAL {secret}"));
    init(&mut client, ALICE);
    assert_eq!(refused(&mut client, "SELECT auth.tenant_id()").sqlstate, "42501");
    run(&mut client, "ROLLBACK");
    init(&mut client, ALICE);
    assert_eq!(refused(&mut client, "SELECT pg_temp.own()").sqlstate, "42501");
    // What others may read does not help.
    run(&mut superuser, "GRANT SELECT ON secret TO app");
    run(&mut client, &format!("SET {secret}"));
    assert_eq!(refused(&mut client, "SELECT auth.tenant_id()").sqlstate, "42501");
    // A superuser's SET in the session is the superuser's.
    init(&mut superuser, ALICE);
    run(&mut superuser, &format!("SET {secret}"));
    assert_eq!(tenant(&mut superuser).as_deref(), Some("xyzzy"));
    run(&mut superuser, "SET SESSION AUTHORIZATION app");
    assert_eq!(tenant(&mut superuser).as_deref(), Some("xyzzy"), "it was a superuser who set it");
}

/// The documented way needs no right of the application's.
#[test]
fn a_superusers_choice_needs_no_right() {
    let schema = format!("{USUAL} CREATE TABLE members AS SELECT id AS u, 't'::text AS t FROM users");
    let database = Database::new("superusers_choice", &schema).set("tenant_lookup", "public.members (u, t)");
    assert_eq!(tenant(&mut alice(&database)).as_deref(), Some("t"));
    run(
        &mut database.superuser(),
        "LOAD 'pg_jwks'; ALTER DATABASE superusers_choice OWNER TO dba;
         ALTER ROLE other IN DATABASE superusers_choice SET pg_jwks.tenant_lookup = 'public.members (u, t)'",
    );
    assert_eq!(tenant(&mut alice(&database)).as_deref(), Some("t"));
}
