//! What a look-up must not run: it reads as the owner of the membership table, and what is of others would act as the owner.

use crate::definitions::no_lookup;
use crate::server::*;

/// Functions of mallory's, each of which would tell as whom it runs.
const TRAPS: &str = "
    CREATE SCHEMA trap AUTHORIZATION mallory; GRANT USAGE ON SCHEMA trap TO PUBLIC; SET ROLE mallory; SET search_path = trap;
    CREATE FUNCTION sprung() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
        $$BEGIN RAISE 'ran as %', current_user USING ERRCODE = 'XX999'; END$$;
    CREATE FUNCTION one(uuid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM trap.sprung(); RETURN true; END$$;
    CREATE FUNCTION two(uuid, uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT trap.one($1)';
    CREATE FUNCTION step(uuid, uuid) RETURNS uuid LANGUAGE plpgsql AS $$BEGIN PERFORM trap.sprung(); RETURN $1; END$$;
    CREATE AGGREGATE first(uuid) (SFUNC = trap.step, STYPE = uuid);
    CREATE FUNCTION rows() RETURNS SETOF uuid LANGUAGE plpgsql AS $$BEGIN PERFORM trap.sprung(); END$$;
    CREATE OPERATOR trap.=== (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = trap.two);
    CREATE DOMAIN odd AS text CHECK (trap.sprung() IS NULL);
    CREATE TYPE pair AS (u text, v text);
    CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN trap.sprung(); END';
    CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair);
    CREATE TYPE colour AS ENUM ('red', 'blue');
    CREATE FUNCTION colour_text(colour) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN trap.sprung(); END';
    CREATE CAST (colour AS text) WITH FUNCTION colour_text(colour);
    CREATE FUNCTION pairs_text(pair[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN trap.sprung(); END';
    CREATE CAST (pair[] AS text) WITH FUNCTION pairs_text(pair[]);
    GRANT USAGE ON TYPE odd, pair, colour TO PUBLIC; RESET ROLE; RESET search_path;";

/// A database in which `owner` makes a relation `members`.
fn trapped(name: &str, owner: &str, relation: &str) -> Database {
    let schema = format!("{USUAL} {TRAPS} GRANT SELECT ON users TO dba; SET ROLE {owner}; {relation}");
    Database::of_superuser(name, &schema).set("tenant_lookup", "public.members (id, tenant_id)")
}

#[test]
fn columns_whose_text_is_made_by_others_are_refused() {
    for (number, (owner, columns, row, what)) in [
        ("dba", "id uuid, tenant_id trap.pair", "'(a,b)'", "function trap.pair_text(trap.pair)"),
        ("postgres", "id uuid, tenant_id trap.pair", "'(a,b)'", "function trap.pair_text(trap.pair)"),
        ("dba", "id uuid, tenant_id trap.pair[]", "'{}'", "function trap.pairs_text(trap.pair[])"),
        ("dba", "id uuid, tenant_id trap.colour", "'red'", "function trap.colour_text(trap.colour)"),
        ("dba", "tenant_id uuid, id trap.colour", "'red'", "function trap.colour_text(trap.colour)"),
        ("dba", "id uuid, tenant_id trap.odd", "", "type trap.odd"),
    ]
    .into_iter()
    .enumerate()
    {
        let insert = match row {
            "" => String::new(),
            row => format!("INSERT INTO members VALUES ('{ALICE}', {row})"),
        };
        let relation = format!("CREATE TABLE members ({columns}); {insert}");
        let database = trapped(&format!("others_text_{number}"), owner, &relation);
        no_lookup(&mut alice(&database), "55000", what);
    }
}

#[test]
fn views_that_use_what_is_of_others_are_refused() {
    for (number, (view, what)) in [
        ("SELECT * FROM users WHERE trap.one(id)", "function trap.one(uuid)"),
        ("SELECT id, tenant_id FROM users WHERE trap.sprung() IS NULL", "function trap.sprung()"),
        ("SELECT * FROM users WHERE id OPERATOR(trap.===) tenant_id", "function trap.two(uuid,uuid)"),
        ("SELECT * FROM users WHERE id OPERATOR(trap.===) ANY (ARRAY[tenant_id])", "function trap.two(uuid,uuid)"),
        ("SELECT id, trap.first(tenant_id) AS tenant_id FROM users GROUP BY id", "function trap.first(uuid)"),
        ("SELECT id, trap.first(tenant_id) OVER () AS tenant_id FROM users", "function trap.first(uuid)"),
        ("SELECT users.* FROM users, trap.rows()", "function trap.rows()"),
        ("SELECT * FROM users WHERE id IN (SELECT r FROM trap.rows() r)", "function trap.rows()"),
        ("WITH x AS (SELECT * FROM users WHERE trap.one(id)) TABLE x", "function trap.one(uuid)"),
        ("SELECT id, tenant_id FROM users UNION SELECT r, r FROM trap.rows() r", "function trap.rows()"),
        ("SELECT id, tenant_id::text::trap.odd AS tenant_id FROM users", "type trap.odd"),
        ("SELECT id, x.tenant_id FROM users, json_to_record('{}') AS x(tenant_id trap.odd)", "type trap.odd"),
        ("SELECT users.* FROM users, json_to_record('{}') AS x(unread trap.odd)", "type trap.odd"),
        ("SELECT id, (json_populate_record(NULL::trap.pair, '{}')).u AS tenant_id FROM users", "type trap.pair"),
        ("SELECT id, ROW(id::text, 'x')::trap.pair AS tenant_id FROM users", "function trap.pair_text(trap.pair)"),
        ("SELECT * FROM users ORDER BY trap.one(id) LIMIT 9", "function trap.one(uuid)"),
    ]
    .into_iter()
    .enumerate()
    {
        let database = trapped(&format!("others_view_{number}"), "dba", &format!("CREATE VIEW members AS {view}"));
        no_lookup(&mut alice(&database), "55000", what);
    }
}

/// The owner of a table that a view reads may put policies on it, which then are part of the view.
#[test]
fn policies_of_others_do_not_run_either() {
    let relation = "GRANT SELECT ON users TO dba; CREATE VIEW members AS TABLE users";
    let database = trapped("others_policy", "dba", relation);
    let mut client = alice(&database);
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
    run(
        &mut database.superuser(),
        "ALTER TABLE users OWNER TO mallory; GRANT SELECT ON users TO dba; SET ROLE mallory;
         ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY trap ON users USING (trap.one(id))",
    );
    no_lookup(&mut client, "55000", "function trap.one(uuid)");
}

/// In a session that has read it before, too.
#[test]
fn what_becomes_of_others_is_noticed() {
    let relation = "CREATE FUNCTION own(uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN true; END';
        CREATE VIEW inner_view AS SELECT * FROM users; CREATE VIEW members AS SELECT * FROM inner_view WHERE own(id)";
    let database = trapped("others_later", "dba", relation);
    let mut client = alice(&database);
    let mut superuser = database.superuser();
    run(&mut client, "PREPARE tenant AS SELECT auth.tenant_id()");
    for (change, undo, what) in [
        (
            "ALTER FUNCTION own(uuid) OWNER TO mallory",
            "ALTER FUNCTION own(uuid) OWNER TO dba",
            "function public.own(uuid)",
        ),
        (
            "CREATE OR REPLACE VIEW inner_view AS SELECT * FROM users WHERE trap.one(id)",
            "CREATE OR REPLACE VIEW inner_view AS SELECT * FROM users",
            "function trap.one(uuid)",
        ),
        ("ALTER VIEW members OWNER TO postgres", "ALTER VIEW members OWNER TO dba", "function public.own(uuid)"),
    ] {
        assert_eq!(value::<String>(&mut client, "EXECUTE tenant"), RED);
        run(&mut superuser, change);
        assert_eq!(refused(&mut client, "EXECUTE tenant").sqlstate, "55000", "{change}");
        no_lookup(&mut client, "55000", what);
        assert_eq!(value::<String>(&mut client, "SELECT concat(session_user, current_user)"), "appapp");
        run(&mut superuser, undo);
    }
    assert_eq!(value::<String>(&mut client, "EXECUTE tenant"), RED);
}

/// The owner's own functions and types serve, and those of superusers.
#[test]
fn own_functions_and_types_serve() {
    for (number, owner) in ["dba", "postgres"].into_iter().enumerate() {
        let schema = format!(
            "SET ROLE {owner}; CREATE TYPE kind AS ENUM ('red', 'blue'); CREATE DOMAIN handle AS text CHECK (VALUE ~ '^[a-z]');
             CREATE FUNCTION kept(text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 <> ''gone''';
             SET ROLE dba; CREATE TABLE member (u handle, t kind); INSERT INTO member VALUES ('alice', 'red'), ('gone', 'red');
             CREATE VIEW members AS SELECT u AS id, t AS tenant_id FROM member WHERE kept(u)"
        );
        let name = format!("own_code_{number}");
        let database = Database::of_superuser(&name, &schema).set("tenant_lookup", "public.members (id, tenant_id)");
        let mut client = database.app();
        for (sub, own) in [("alice", Some("red")), ("gone", None), ("Alice", None)] {
            init(&mut client, sub);
            assert_eq!(tenant(&mut client).as_deref(), own, "{owner}: {sub}");
        }
        init(&mut client, "alice");
        run(&mut client, "SELECT auth.set_tenant('red')");
        assert_eq!(refused(&mut client, "SELECT auth.set_tenant('green')").sqlstate, "42501");
    }
}
