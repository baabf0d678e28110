//! Installing where somebody else was before: what stands beside the extension's functions would be called in their place.

use pg_test::app::NOT_PRELOADED;
use pg_test::login::unique;
use pg_test::sql::{refused, run, value};
use postgres::Client;

/// A database in which `mallory` may make schemas, and sessions of a superuser and of her. She is no superuser.
struct Town {
    mallory: String,
    database: String,
}

impl Town {
    fn new() -> Self {
        let town = Self { mallory: format!("mallory_{}", unique()), database: format!("town_{}", unique()) };
        run(&mut NOT_PRELOADED.client(), &format!("CREATE ROLE {} LOGIN", town.mallory));
        run(&mut NOT_PRELOADED.client(), &format!("CREATE DATABASE {}", town.database));
        run(&mut NOT_PRELOADED.client(), &format!("GRANT CREATE ON DATABASE {} TO {}", town.database, town.mallory));
        town
    }

    fn superuser(&self) -> Client {
        NOT_PRELOADED.connect("postgres", &self.database)
    }

    fn mallory(&self) -> Client {
        NOT_PRELOADED.connect(&self.mallory, &self.database)
    }

    /// An aggregate that PostgreSQL prefers to its own `jsonb_object_agg(any, any)`, and that makes mallory a superuser if
    /// a superuser calls it.
    fn prepare_aggregate(&self) {
        let statements = format!(
            "CREATE FUNCTION auth.rise(jsonb, text, bigint) RETURNS jsonb LANGUAGE plpgsql AS
                 $$BEGIN EXECUTE 'ALTER ROLE {} SUPERUSER'; RETURN '{{}}'; END$$;
             CREATE AGGREGATE auth.jsonb_object_agg(text, bigint) (SFUNC = auth.rise, STYPE = jsonb, INITCOND = '{{}}')",
            self.mallory
        );
        run(&mut self.mallory(), &statements);
    }

    fn mallory_is_superuser(&self) -> bool {
        let query = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{}'", self.mallory);
        value(&mut self.superuser(), &query)
    }

    fn is_installed(&self) -> bool {
        value(&mut self.superuser(), "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_jwks')")
    }
}

fn errors(client: &mut Client) -> Vec<(String, String, String)> {
    let query = "SELECT object, problem, fix FROM auth.rls_lint() WHERE severity = 'error' ORDER BY 1, 2";
    let rows = client.query(query, &[]).expect("rls_lint");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[test]
fn a_schema_of_somebody_else_is_refused() {
    let town = Town::new();
    run(&mut town.mallory(), "CREATE SCHEMA auth");
    town.prepare_aggregate();
    let error = refused(&mut town.superuser(), "CREATE EXTENSION pg_jwks");
    assert_eq!((&*error.sqlstate, &*error.message), ("55000", "schema auth is not safe for pg_jwks"));
    let detail = format!("Schema auth lets {} create functions beside those of pg_jwks.", town.mallory);
    assert_eq!(error.detail, Some(detail));
    assert_eq!(error.hint.as_deref(), Some("ALTER SCHEMA auth OWNER TO postgres;"));
    assert!(!town.is_installed() && !town.mallory_is_superuser());
}

#[test]
fn an_empty_schema_of_somebody_else_is_taken_over() {
    let town = Town::new();
    run(&mut town.mallory(), "CREATE SCHEMA auth");
    let mut superuser = town.superuser();
    run(&mut superuser, "CREATE EXTENSION pg_jwks");
    let owner: String =
        value(&mut superuser, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'auth'");
    assert_eq!(owner, "postgres");
    let steal = "CREATE FUNCTION auth.jwt_session_init(varchar) RETURNS void LANGUAGE sql AS ''";
    assert_eq!(refused(&mut town.mallory(), steal).sqlstate, "42501");
    assert_eq!(errors(&mut superuser), []);
}

#[test]
fn what_a_prepared_schema_holds_is_not_called_by_the_extension() {
    let town = Town::new();
    run(&mut town.mallory(), "CREATE SCHEMA auth");
    town.prepare_aggregate();
    let mut superuser = town.superuser();
    run(&mut superuser, "ALTER SCHEMA auth OWNER TO postgres; CREATE EXTENSION pg_jwks");
    // Counts at least one rejection, so that the aggregate has something to do.
    refused(&mut superuser, "SELECT auth.jwt_session_init('x')");
    run(&mut superuser, "SELECT * FROM auth.jwt_stats");
    assert!(!town.mallory_is_superuser());
    let reasons: i64 = value(
        &mut superuser,
        "SELECT count(*) FROM auth.jwt_stats, LATERAL pg_catalog.jsonb_each(rejected_by_reason) WHERE rejected > 0",
    );
    assert_eq!(reasons, 1);
}

#[test]
fn whoever_else_can_create_in_the_schema_stops_the_installation() {
    for (grantee, who) in [("PUBLIC", "everybody"), ("mallory", "mallory")] {
        let town = Town::new();
        let (grantee, who) = match grantee {
            "PUBLIC" => (grantee, who),
            _ => (&*town.mallory, &*town.mallory),
        };
        let mut superuser = town.superuser();
        run(&mut superuser, &format!("CREATE SCHEMA auth; GRANT CREATE ON SCHEMA auth TO {grantee}"));
        let error = refused(&mut superuser, "CREATE EXTENSION pg_jwks");
        let detail = format!("Schema auth lets {who} create functions beside those of pg_jwks.");
        assert_eq!((&*error.sqlstate, error.detail), ("55000", Some(detail)));
        let fix = error.hint.expect("a statement");
        assert_eq!(fix, format!("REVOKE CREATE ON SCHEMA auth FROM {grantee};"));
        run(&mut superuser, &fix);
        run(&mut superuser, "CREATE EXTENSION pg_jwks");
    }
}

#[test]
fn a_function_of_somebody_else_with_one_of_our_names_stops_the_installation() {
    for (function, identity) in [
        // This one beats claim(VARIADIC text[]) in a policy that calls auth.claim('org').
        ("auth.claim(text)", "auth.claim(text)"),
        ("auth.jwt_session_init(varchar)", "auth.jwt_session_init(character varying)"),
        ("auth.user_id(integer)", "auth.user_id(integer)"),
        ("public.get_current_user_tenant_id(text)", "public.get_current_user_tenant_id(text)"),
    ] {
        let town = Town::new();
        run(&mut town.mallory(), "CREATE SCHEMA auth");
        run(&mut town.superuser(), &format!("GRANT CREATE ON SCHEMA public TO {}", town.mallory));
        let create = format!("CREATE FUNCTION {function} RETURNS text LANGUAGE sql AS $$SELECT 'acme'$$");
        run(&mut town.mallory(), &create);
        let mut superuser = town.superuser();
        run(&mut superuser, "ALTER SCHEMA auth OWNER TO postgres");
        let error = refused(&mut superuser, "CREATE EXTENSION pg_jwks");
        let detail =
            format!("Function {identity} has the name of a function of pg_jwks, and calls can reach it instead.");
        assert_eq!((&*error.sqlstate, error.detail), ("55000", Some(detail)));
        assert!(!town.is_installed());
        run(&mut superuser, &error.hint.expect("a statement"));
        run(&mut superuser, "CREATE EXTENSION pg_jwks");
    }
}

#[test]
fn functions_of_whoever_installs_may_stand_beside_ours() {
    let town = Town::new();
    let mut superuser = town.superuser();
    run(&mut superuser, "CREATE SCHEMA auth");
    run(&mut superuser, "CREATE FUNCTION auth.uid(integer) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'");
    run(&mut superuser, "CREATE EXTENSION pg_jwks");
    assert_eq!(errors(&mut superuser), []);
}

#[test]
fn an_overload_that_steals_tokens_later_is_an_error_of_the_linter() {
    let town = Town::new();
    let mut superuser = town.superuser();
    run(&mut superuser, "CREATE EXTENSION pg_jwks");
    assert_eq!(errors(&mut superuser), []);
    run(&mut superuser, &format!("ALTER SCHEMA auth OWNER TO {}", town.mallory));
    let steal = "CREATE FUNCTION auth.jwt_session_init(varchar) RETURNS void LANGUAGE sql AS ''";
    run(&mut town.mallory(), steal);
    let found = errors(&mut superuser);
    assert_eq!(
        found,
        [
            (
                "function auth.jwt_session_init(character varying)".to_owned(),
                "has the name of a function of pg_jwks, and calls can reach it instead".to_owned(),
                "DROP FUNCTION auth.jwt_session_init(character varying);".to_owned()
            ),
            (
                "schema auth".to_owned(),
                format!("lets {} create functions beside those of pg_jwks", town.mallory),
                "ALTER SCHEMA auth OWNER TO postgres;".to_owned()
            ),
        ]
    );
    for (_, _, fix) in found {
        run(&mut superuser, &fix);
    }
    assert_eq!(errors(&mut superuser), []);
}

#[test]
fn an_update_closes_what_was_prepared_before_the_old_installation() {
    let town = Town::new();
    run(&mut town.mallory(), "CREATE SCHEMA auth");
    town.prepare_aggregate();
    let mut superuser = town.superuser();
    run(&mut superuser, "CREATE EXTENSION pg_jwks VERSION '0.1.0'");
    let error = refused(&mut superuser, "ALTER EXTENSION pg_jwks UPDATE");
    assert_eq!((&*error.sqlstate, &*error.message), ("55000", "schema auth is not safe for pg_jwks"));
    run(&mut superuser, &error.hint.expect("a statement"));
    run(&mut superuser, "ALTER EXTENSION pg_jwks UPDATE");
    refused(&mut superuser, "SELECT auth.jwt_session_init('x')");
    run(&mut superuser, "SELECT * FROM auth.jwt_stats");
    assert!(!town.mallory_is_superuser());
}

/// All that the catalogues say of the extension's objects.
fn catalogue(client: &mut Client) -> Vec<String> {
    let query = "
        SELECT concat_ws(' | ', pg_get_functiondef(p.oid), proacl, obj_description(p.oid, 'pg_proc'))
          FROM pg_proc p JOIN pg_depend ON objid = p.oid AND classid = 'pg_proc'::regclass AND deptype = 'e'
               JOIN pg_extension e ON e.oid = refobjid AND extname = 'pg_jwks'
        UNION ALL
        SELECT concat_ws(' | ', c.oid::regclass, pg_get_viewdef(c.oid), relacl, obj_description(c.oid, 'pg_class'))
          FROM pg_class c JOIN pg_depend ON objid = c.oid AND classid = 'pg_class'::regclass AND deptype = 'e'
               JOIN pg_extension e ON e.oid = refobjid AND extname = 'pg_jwks'
        UNION ALL
        SELECT concat_ws(' | ', 'schema', nspacl, obj_description(oid, 'pg_namespace')) FROM pg_namespace WHERE nspname = 'auth'
         ORDER BY 1";
    client.query(query, &[]).expect("the catalogue").iter().map(|row| row.get(0)).collect()
}

#[test]
fn an_updated_extension_is_a_fresh_one() {
    let (old, fresh) = (Town::new(), Town::new());
    run(&mut old.superuser(), "CREATE EXTENSION pg_jwks VERSION '0.1.0'; ALTER EXTENSION pg_jwks UPDATE");
    run(&mut fresh.superuser(), "CREATE EXTENSION pg_jwks");
    let fresh = catalogue(&mut fresh.superuser());
    assert!(fresh.len() > 25);
    assert_eq!(catalogue(&mut old.superuser()), fresh);
}
