//! The functions as the catalogues have them.

use pg_test::app::{App, NOT_PRELOADED};
use postgres::Client;

type Function = (&'static str, &'static str, char, char, bool);

/// Signature, result, volatility, parallel safety, strictness.
const FUNCTIONS: [Function; 29] = [
    ("actor()", "text", 's', 's', false),
    ("assume_identity(claims jsonb, is_local boolean DEFAULT false)", "void", 'v', 'u', false),
    ("claim(VARIADIC path text[])", "text", 's', 's', true),
    ("email()", "text", 's', 's', false),
    ("expires_at()", "timestamp with time zone", 's', 's', false),
    ("has_role(role text)", "boolean", 's', 's', false),
    ("has_scope(scope text)", "boolean", 's', 's', false),
    ("init()", "void", 'v', 'u', false),
    (
        "jwks(OUT issuer text, OUT kid text, OUT kty text, OUT alg text, OUT use text, OUT source text, \
         OUT fetched_at timestamp with time zone, OUT refresh_at timestamp with time zone, \
         OUT expires_at timestamp with time zone, OUT stale boolean, OUT last_error text, \
         OUT serves_until timestamp with time zone, OUT next_fetch timestamp with time zone, OUT problem text)",
        "SETOF record",
        'v',
        'r',
        false,
    ),
    ("jwks_refresh()", "void", 'v', 'u', false),
    ("jwt()", "jsonb", 's', 's', false),
    ("jwt_counters(OUT counter text, OUT reason text, OUT value bigint)", "SETOF record", 'v', 'r', false),
    ("jwt_explain(token text, OUT \"check\" text, OUT ok boolean, OUT detail text)", "SETOF record", 'v', 'u', false),
    ("jwt_hash(token text)", "bytea", 'v', 'u', false),
    (
        "jwt_logout_verified(logout_token text, OUT issuer text, OUT subject text, OUT session text, OUT token_hash bytea)",
        "SETOF record",
        'v',
        'u',
        false,
    ),
    ("jwt_session_clear()", "void", 'v', 'u', false),
    ("jwt_session_init(token text, is_local boolean DEFAULT false)", "void", 'v', 'u', false),
    (
        "jwt_session_list(OUT pid integer, OUT issuer text, OUT subject text, OUT tenant text, OUT session text, \
         OUT token_id text, OUT actor text, OUT origin text, OUT is_local boolean, OUT since timestamp with time zone, \
         OUT expires_at timestamp with time zone)",
        "SETOF record",
        'v',
        'r',
        false,
    ),
    ("organization()", "jsonb", 's', 's', false),
    ("organization_id()", "uuid", 's', 's', false),
    ("revocation_changed()", "trigger", 'v', 'u', false),
    (
        "rls_expression(expression pg_node_tree, relation oid, OUT condition text, OUT once text, OUT verdict boolean, \
         OUT verdict_without_identity boolean, OUT asks boolean, OUT settings text[], OUT claims text[])",
        "SETOF record",
        's',
        'u',
        false,
    ),
    ("role()", "text", 's', 's', false),
    ("session()", "jsonb", 's', 's', false),
    ("set_tenant(tenant text, is_local boolean DEFAULT false)", "void", 'v', 'u', false),
    ("tenant_id()", "text", 's', 's', false),
    ("tenant_ids()", "text[]", 's', 's', false),
    ("uid()", "uuid", 's', 's', false),
    ("user_id()", "text", 's', 's', false),
];

/// The functions written in SQL: signature, result, language, volatility, parallel safety. Each has a `search_path` of its
/// own and the rights of its caller.
const SQL_FUNCTIONS: [&str; 7] = [
    "disable_tenant_isolation(tbl regclass) void plpgsql v u",
    "enable_tenant_isolation(tbl regclass, tenant_column name DEFAULT 'tenant_id'::name, force boolean DEFAULT true) void plpgsql v u",
    "rls_assert(severity text DEFAULT 'error'::text) void plpgsql s u",
    "rls_findings(OUT rule text, OUT severity text, OUT object text, OUT problem text, OUT fix text, OUT owner oid) SETOF record sql s u",
    "rls_keys(tbl regclass, OUT rule text, OUT severity text, OUT object text, OUT problem text, OUT fix text, OUT owner oid) SETOF record sql s r",
    "rls_lint(OUT rule text, OUT severity text, OUT object text, OUT problem text, OUT fix text, OUT accepted text) SETOF record sql s u",
    "rls_tenants(OUT relation oid, OUT column_name name, OUT number smallint, OUT condition text, OUT is_bound boolean, OUT is_membership boolean) SETOF record sql s r",
];

/// Those that write into a table of the extension, with the rights of its owner. Others may not read or write it.
const DEFINER_FUNCTIONS: [&str; 3] = ["jwt_logout", "revoke", "rls_accept"];

fn strings(client: &mut Client, query: &str) -> Vec<String> {
    client.query(query, &[]).expect(query).iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_functions_are_as_documented() {
    let query = "
        SELECT format('%s(%s) %s %s %s %s %s %s', proname, pg_get_function_arguments(p.oid),
                      pg_get_function_result(p.oid), provolatile, proparallel, proisstrict, prosecdef, lanname)
        FROM pg_proc p JOIN pg_language l ON l.oid = prolang
        WHERE pronamespace = 'auth'::regnamespace AND lanname = 'c' ORDER BY proname";
    let expected: Vec<_> = FUNCTIONS
        .iter()
        .map(|(signature, result, volatility, parallel, strict)| {
            let strict = if *strict { "t" } else { "f" };
            format!("{signature} {result} {volatility} {parallel} {strict} f c")
        })
        .collect();
    assert_eq!(strings(&mut NOT_PRELOADED.client(), query), expected);
    let helper = query
        .replace("pronamespace = 'auth'::regnamespace", "p.oid = 'public.get_current_user_tenant_id()'::regprocedure");
    assert_eq!(strings(&mut NOT_PRELOADED.client(), &helper), ["get_current_user_tenant_id() uuid s s f f c"]);
}

#[test]
fn the_functions_in_sql_run_as_their_caller_with_a_safe_search_path() {
    let query = "
        SELECT format('%s(%s) %s %s %s %s', proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                      lanname, provolatile, proparallel)
        FROM pg_proc p JOIN pg_language l ON l.oid = prolang
        WHERE pronamespace = 'auth'::regnamespace AND lanname <> 'c' AND NOT prosecdef AND NOT proisstrict
          AND proconfig[1] = 'search_path=pg_catalog, pg_temp' ORDER BY proname";
    assert_eq!(strings(&mut NOT_PRELOADED.client(), query), SQL_FUNCTIONS);
    let definers = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'auth'::regnamespace AND prosecdef
                       AND proconfig = '{\"search_path=pg_catalog, pg_temp\"}' ORDER BY proname";
    assert_eq!(strings(&mut NOT_PRELOADED.client(), definers), DEFINER_FUNCTIONS);
}

#[test]
fn a_role_without_grants_can_call_the_functions() {
    let mut client = App::plain(&NOT_PRELOADED, &[]).connect();
    client.batch_execute("SELECT auth.init(), auth.jwt_session_clear(), auth.set_tenant(NULL)").expect("callable");
    for reader in [
        "jwt()",
        "session()",
        "user_id()",
        "uid()",
        "role()",
        "email()",
        "claim('a', 'b')",
        "organization()",
        "organization_id()",
        "expires_at()",
        "tenant_id()",
        "tenant_ids()",
    ] {
        let query = format!("SELECT auth.{reader} IS NULL");
        assert!(client.query_one(&query, &[]).expect(&query).get::<_, bool>(0), "{query}");
    }
    for reader in ["has_scope('a')", "has_scope(NULL)", "has_role('a')", "has_role(NULL)"] {
        let query = format!("SELECT auth.{reader}");
        assert!(!client.query_one(&query, &[]).expect(&query).get::<_, bool>(0), "{query}");
    }
    client.batch_execute("SELECT * FROM auth.rls_lint()").expect("callable");
    let error = client.execute("SELECT auth.jwt_session_init('x')", &[]).expect_err("no token");
    assert_eq!(pg_test::pg_error(&error).sqlstate, "22023");
    assert_eq!(client.query("SELECT * FROM auth.jwt_explain('x')", &[]).expect("callable").len(), 14);
}

#[test]
fn nobody_but_the_owner_may_create_in_the_schema() {
    let mut client = App::plain(&NOT_PRELOADED, &[]).connect();
    for statement in [
        "CREATE FUNCTION auth.user_id(int) RETURNS text LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION auth.user_id()",
        "CREATE TABLE auth.t ()",
        "DROP EXTENSION pg_jwks",
    ] {
        let error = client.batch_execute(statement).expect_err(statement);
        assert_eq!(pg_test::pg_error(&error).sqlstate, "42501", "{statement}");
    }
}

/// What the extension has beside functions.
const RELATIONS: [&str; 5] = [
    "sequence auth.revocations_id_seq",
    "table auth.revocations",
    "table auth.rls_accepted",
    "view auth.jwt_sessions",
    "view auth.jwt_stats",
];

#[test]
fn the_extension_has_all_its_objects() {
    let mut client = NOT_PRELOADED.client();
    let query = "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
                 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
                   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_jwks') ORDER BY 1";
    let mut members = strings(&mut client, query);
    let functions = "SELECT 'function ' || oid::regprocedure FROM pg_proc
                     WHERE pronamespace = 'auth'::regnamespace ORDER BY 1";
    let mut functions = strings(&mut client, functions);
    functions.push("function get_current_user_tenant_id()".into());
    functions.extend(RELATIONS.map(str::to_owned));
    members.sort();
    functions.sort();
    assert_eq!(members, functions);
    assert_eq!(functions.len(), FUNCTIONS.len() + SQL_FUNCTIONS.len() + DEFINER_FUNCTIONS.len() + 1 + RELATIONS.len());
    let query = "SELECT format('%s %s %s %s', extversion, extrelocatable, extnamespace::regnamespace, trusted)
                 FROM pg_extension JOIN pg_available_extension_versions v ON v.name = extname AND v.version = extversion
                 WHERE extname = 'pg_jwks'";
    assert_eq!(strings(&mut client, query), ["1.0.0 f auth t"]);
    let undescribed = "SELECT oid::regprocedure::text FROM pg_proc
                       WHERE (pronamespace = 'auth'::regnamespace OR proname = 'get_current_user_tenant_id')
                         AND obj_description(oid, 'pg_proc') IS NULL";
    assert_eq!(strings(&mut client, undescribed), [""; 0]);
}
