//! Each fault is found, with a fix that mends it.

use crate::server::*;
use pg_test::Cluster;

/// Plants a fault in a database without any, and expects exactly one finding until its fix has run.
#[track_caller]
pub fn finds(name: &str, before: &str, plant: &str, finding: [&str; 5]) {
    let database = Database::new(&format!("lint_{name}"));
    let mut session = database.superuser();
    session.run(before);
    assert_eq!(session.lint(), [], "before");
    session.run(plant);
    let [rule, severity, object, problem, fix] = finding.map(str::to_owned);
    assert_eq!(session.lint(), [Finding { rule, severity, object, problem, fix: fix.clone() }]);
    // Everybody may ask, and is told the same.
    assert_eq!(database.connect("app").lint().len(), 1);
    session.run(&fix);
    assert_eq!(session.lint(), [], "after {fix}");
}

const T: &str = "CREATE TABLE t (id int, tenant_id uuid PRIMARY KEY, owner text);";
const ISOLATED: &str =
    "CREATE TABLE t (id int, tenant_id uuid PRIMARY KEY, owner text); SELECT auth.enable_tenant_isolation('t');";
const OWN: &str =
    "CREATE TABLE t (id int, owner text); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                   CREATE POLICY own ON t USING (owner = auth.user_id());";

#[test]
fn tables_with_a_tenant_column_and_no_rls_are_found() {
    let problem = "has column tenant_id, but no row-level security";
    let fix = "SELECT auth.enable_tenant_isolation('public.t', 'tenant_id');";
    finds("plain", "", T, ["table_without_rls", "error", "table public.t", problem, fix]);
    let partitioned = "CREATE TABLE t (tenant_id text PRIMARY KEY) PARTITION BY HASH (tenant_id);
                       CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)";
    finds("plain_partitioned", "", partitioned, ["table_without_rls", "error", "table public.t", problem, fix]);
    let quoted = r#"CREATE SCHEMA "My App"; CREATE TABLE "My App"."it's" (tenant_id int PRIMARY KEY)"#;
    let fix = r#"SELECT auth.enable_tenant_isolation('"My App"."it''s"', 'tenant_id');"#;
    finds("plain_quoted", "", quoted, ["table_without_rls", "error", r#"table "My App"."it's""#, problem, fix]);
    // Of a type that no tenant has; then there is no policy either.
    let database = Database::new("lint_plain_numeric");
    let mut session = database.superuser();
    session.run("CREATE TABLE t (tenant_id numeric)");
    for fix in ["ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;", "CREATE POLICY nobody ON public.t USING (false);"] {
        let findings = session.lint();
        assert_eq!(findings.iter().map(|finding| finding.fix.as_str()).collect::<Vec<_>>(), [fix]);
        session.run(fix);
    }
    assert_eq!(session.lint(), []);
}

#[test]
fn the_tenant_column_is_the_one_of_the_membership_table() {
    let database = Database::new("lint_lookup");
    let mut session = database.superuser();
    session.run(
        r#"ALTER DATABASE lint_lookup SET pg_jwks.tenant_lookup = 'app."mem(bers" (user_id, "Ten, ant")';
           CREATE SCHEMA app; CREATE TABLE app."mem(bers" (user_id text PRIMARY KEY, "Ten, ant" uuid);
           CREATE TABLE t ("Ten, ant" uuid PRIMARY KEY); CREATE TABLE u (tenant_id uuid PRIMARY KEY, "Ten, ant" uuid)"#,
    );
    let mut session = database.superuser();
    let fixes = session.lint().into_iter().map(|finding| finding.fix).collect::<Vec<_>>();
    assert_eq!(
        fixes,
        [
            "SELECT auth.enable_tenant_isolation('public.t', 'Ten, ant');",
            "SELECT auth.enable_tenant_isolation('public.u', 'Ten, ant');",
        ]
    );
    for fix in fixes {
        session.run(&fix);
    }
    assert_eq!(session.lint().len(), 1, "the index of the second");
    session.run(r#"GRANT SELECT (user_id) ON app."mem(bers" TO app"#);
    let objects: Vec<_> = session.lint().into_iter().map(|finding| finding.object).collect();
    assert_eq!(objects, [r#"table app."mem(bers""#, "table public.u"]);
}

#[test]
fn policies_without_effect_are_found() {
    let fix = "ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;";
    let problem = "has policies, but row-level security is not enabled";
    finds(
        "not_enabled",
        OWN,
        "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
        ["policies_without_rls", "error", "table public.t", problem, fix],
    );
    finds(
        "isolation_off",
        ISOLATED,
        "SET pg_jwks.protect_isolation = off; ALTER TABLE t DISABLE ROW LEVEL SECURITY",
        ["policies_without_rls", "error", "table public.t", problem, fix],
    );
}

#[test]
fn rls_without_policy_is_found() {
    let problem = "has row-level security without a permissive policy, so that nobody whom it binds sees a row";
    let fix = "CREATE POLICY nobody ON public.u USING (false);";
    finds(
        "no_policy",
        "CREATE TABLE u (id int)",
        "ALTER TABLE u ENABLE ROW LEVEL SECURITY",
        ["rls_without_policy", "warning", "table public.u", problem, fix],
    );
    let fix = "SELECT auth.enable_tenant_isolation('public.t', 'tenant_id');";
    finds(
        "no_policy_tenant",
        ISOLATED,
        "SET pg_jwks.protect_isolation = off; DROP POLICY tenant_isolation ON t",
        ["rls_without_policy", "warning", "table public.t", problem, fix],
    );
    let before =
        format!("{T} CREATE POLICY own ON t USING (owner = auth.user_id()); SELECT auth.enable_tenant_isolation('t')");
    finds(
        "only_restrictive",
        &before,
        "DROP POLICY own ON t",
        ["rls_without_policy", "warning", "table public.t", problem, fix],
    );
}

#[test]
fn owners_who_connect_are_found() {
    let fix = "ALTER TABLE public.t FORCE ROW LEVEL SECURITY;";
    for (name, owner) in [("owner", "owner"), ("group", "owners")] {
        let problem = format!("does not bind its owner {owner}, who can connect");
        let plant = "ALTER TABLE t NO FORCE ROW LEVEL SECURITY";
        let before = format!("{OWN} ALTER TABLE t OWNER TO {owner}");
        finds(
            &format!("force_{name}"),
            &before,
            plant,
            ["owner_not_bound", "warning", "table public.t", &problem, fix],
        );
    }
}

#[test]
fn partitions_with_rights_of_their_own_are_found() {
    let before = "CREATE TABLE t (tenant_id text PRIMARY KEY) PARTITION BY HASH (tenant_id);
                  CREATE TABLE \"P\" PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0);
                  SELECT auth.enable_tenant_isolation('t'); GRANT SELECT ON t TO app";
    let problem = "is a partition that others can read without the policies of public.t";
    let fix = "REVOKE ALL ON public.\"P\" FROM PUBLIC; REVOKE ALL ON public.\"P\" FROM app;";
    let plant = "GRANT SELECT (tenant_id) ON \"P\" TO app; GRANT INSERT ON \"P\" TO PUBLIC";
    finds("partition", before, plant, ["partition_readable", "error", "table public.\"P\"", problem, fix]);
}

#[test]
fn calls_for_each_row_are_found() {
    let problem = "calls a function for each row that is needed once a statement";
    let object = "policy own on table public.t";
    for (name, plant, fix) in [
        ("function", "USING (owner = mine('it''s (b'))", "USING ((owner = ( SELECT public.mine('it''s (b'::text))))"),
        (
            "function_in_check",
            "WITH CHECK (owner = upper(public.mine('a')))",
            "WITH CHECK ((owner = ( SELECT upper(public.mine('a'::text)))))",
        ),
        (
            "setting",
            "USING (owner = nullif(current_setting('app.tenant', true), ''))",
            "USING ((owner = ( SELECT NULLIF(current_setting('app.tenant'::text, true), ''::text))))",
        ),
        (
            "subquery",
            "USING (id IN (SELECT r FROM ref WHERE o = current_setting('app.tenant')))",
            "USING ((id IN ( SELECT ref.r\n   FROM public.ref\n  WHERE (ref.o = ( SELECT current_setting('app.tenant'::text))))))",
        ),
    ] {
        let before = format!(
            "CREATE TABLE ref (r int, o text); {OWN}
             CREATE FUNCTION mine(text) RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
                 AS 'BEGIN RETURN $1 || auth.user_id(); END'"
        );
        let fix = format!("ALTER POLICY own ON public.t {fix};");
        finds(
            &format!("bare_{name}"),
            &before,
            &format!("ALTER POLICY own ON t {plant}"),
            ["call_per_row", "notice", object, problem, &fix],
        );
    }
}

#[test]
fn settings_that_everybody_can_set_are_found() {
    let plant = "CREATE EXTENSION pg_jwks; CREATE TABLE t (owner text); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        CREATE POLICY a ON t USING (owner = (SELECT current_setting('app.user_id', true)));
        CREATE POLICY b ON t FOR INSERT WITH CHECK (owner = (SELECT current_setting('Request.jwt.claims')::jsonb ->> 'sub')
            OR (SELECT current_setting('app.tenant') = 'x'));
        CREATE POLICY c ON t FOR DELETE USING ((SELECT current_setting('search_path')) = owner);
        CREATE POLICY fine ON t FOR DELETE USING ((SELECT current_setting('role')) = owner AND (SELECT current_setting('pg_jwks.issuer')) = owner
            AND (SELECT current_setting('data_directory')) = owner);
        CREATE POLICY session ON t FOR DELETE USING ((SELECT current_setting('pg_jwks.session')) = owner);";
    let cluster = Cluster::options().setting("pg_jwks.claim_settings", "app.tenant=tenant").start();
    let findings = || -> Vec<[String; 3]> {
        let query = "SELECT object, problem, fix FROM auth.rls_lint() WHERE severity = 'error'";
        let rows = cluster.client().query(query, &[]).expect(query);
        rows.iter().map(|row| [row.get(0), row.get(1), row.get(2)]).collect()
    };
    let mut client = cluster.client();
    client.batch_execute(plant).expect("policies");
    let problem = |names: &str| format!("reads {names}, which everybody can set");
    let mut found = findings();
    // Without preloading, variables of claim_settings and the identity itself can be forged before the library is loaded.
    assert_eq!(
        found.iter().map(|[_, problem, _]| problem.clone()).collect::<Vec<_>>(),
        [
            problem("app.user_id"),
            problem("app.tenant, request.jwt.claims"),
            problem("search_path"),
            problem("pg_jwks.issuer"),
            problem("pg_jwks.session"),
        ]
    );
    client.batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_jwks'").expect("ALTER SYSTEM");
    cluster.restart();
    found = findings();
    assert_eq!(
        found.iter().map(|[object, problem, _]| format!("{object} {problem}")).collect::<Vec<_>>(),
        [
            format!("policy a on table public.t {}", problem("app.user_id")),
            format!("policy b on table public.t {}", problem("request.jwt.claims")),
            format!("policy c on table public.t {}", problem("search_path")),
        ]
    );
    let fix = "ALTER SYSTEM SET pg_jwks.claim_settings = 'app.tenant=tenant, app.user_id=sub, request.jwt.claims=*';";
    assert!(found[0][2].starts_with(fix) && found[1][2] == found[0][2], "{found:?}");
    assert_eq!(found[2][2], "ALTER POLICY c ON public.t USING (false);");
    let mut client = cluster.client();
    for [_, _, fix] in &found {
        client.batch_execute(fix).expect(fix);
    }
    cluster.restart();
    assert_eq!(findings(), [] as [[String; 3]; 0]);
}

#[test]
fn policies_that_let_everybody_in_are_found() {
    let problem = "lets everybody at every row";
    let condition = "tenant_id = public.get_current_user_tenant_id()";
    let before = format!(
        "{T} ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON t FOR UPDATE USING (owner = auth.user_id())"
    );
    for (name, plant, fix) in [
        ("all", "CREATE POLICY p ON t USING (true)", format!("USING ({condition}) WITH CHECK ({condition})")),
        (
            "all_checked",
            "CREATE POLICY p ON t USING (true) WITH CHECK (true)",
            format!("USING ({condition}) WITH CHECK ({condition})"),
        ),
        ("select", "CREATE POLICY p ON t FOR SELECT USING (true)", format!("USING ({condition})")),
        ("delete", "CREATE POLICY p ON t FOR DELETE TO app, PUBLIC USING (true)", format!("USING ({condition})")),
    ] {
        let fix = format!("ALTER POLICY p ON public.t {fix};");
        finds(
            &format!("open_{name}"),
            &before,
            plant,
            ["policy_for_everybody", "error", "policy p on table public.t", problem, &fix],
        );
    }
    let fix = "ALTER POLICY p ON public.t USING (false);";
    finds(
        "open_no_tenant",
        OWN,
        "CREATE POLICY p ON t FOR SELECT USING (true)",
        ["policy_for_everybody", "warning", "policy p on table public.t", problem, fix],
    );
}

#[test]
fn writes_that_nobody_checks_are_found() {
    let problem = "accepts rows whoever writes them";
    let object = "policy p on table public.t";
    let own = "(owner = auth.user_id())";
    for (name, plant, fix) in [
        ("insert", "FOR INSERT WITH CHECK (true)", "false"),
        ("insert_constant", "FOR INSERT WITH CHECK (owner = 'auth.user_id()')", "false"),
        ("update", "FOR UPDATE USING (owner = auth.user_id()) WITH CHECK (true)", own),
        ("all", "USING (owner = auth.user_id()) WITH CHECK (owner IS NOT NULL)", own),
        ("role", "TO app USING (owner = auth.user_id()) WITH CHECK (true)", own),
    ] {
        let fix = format!("ALTER POLICY p ON public.t WITH CHECK ({fix});");
        finds(
            &format!("check_{name}"),
            &format!("{OWN} DROP POLICY own ON t; CREATE POLICY own ON t FOR DELETE USING (owner = auth.user_id())"),
            &format!("CREATE POLICY p ON t {plant}"),
            ["unchecked_write", "warning", object, problem, &fix],
        );
    }
    let before = format!(
        "{T} ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON t FOR UPDATE USING (owner = auth.user_id())"
    );
    let fix = "ALTER POLICY p ON public.t WITH CHECK (tenant_id = public.get_current_user_tenant_id());";
    finds(
        "check_tenant",
        &before,
        "CREATE POLICY p ON t FOR INSERT WITH CHECK (true)",
        ["unchecked_write", "error", object, problem, fix],
    );
}

#[test]
fn policies_that_let_other_tenants_in_are_found() {
    let problem = "has a permissive policy beside tenant_isolation, which lets rows of other tenants through";
    let fix = "SELECT auth.enable_tenant_isolation('public.t', 'tenant_id');";
    let plant = "CREATE POLICY own ON t USING (owner = auth.user_id()); CREATE POLICY shared ON t FOR SELECT USING (owner = 'all')";
    finds("alternative", ISOLATED, plant, ["policy_beside_isolation", "warning", "table public.t", problem, fix]);
}

#[test]
fn tenant_columns_without_index_are_found() {
    let before =
        "CREATE TABLE t (id int, tenant_id text); CREATE INDEX i ON t (tenant_id); CREATE INDEX ON t (id, tenant_id);
                  CREATE INDEX ON t (tenant_id) WHERE id > 1; SELECT auth.enable_tenant_isolation('t')";
    let fix = "CREATE INDEX ON public.t (tenant_id);";
    finds(
        "index",
        before,
        "DROP INDEX i",
        ["tenant_without_index", "warning", "table public.t", "has no index that begins with column tenant_id", fix],
    );
}

const VIEW_OF_POSTGRES: &str = "shows all rows of tables with row-level security, with the rights of postgres";

#[test]
fn views_with_the_rights_of_their_owner_are_found() {
    let problem = VIEW_OF_POSTGRES;
    let fix = match cfg!(before_pg15) {
        false => "ALTER VIEW public.v SET (security_invoker = true);",
        true => "REVOKE ALL ON public.v FROM app;",
    };
    finds(
        "view",
        ISOLATED,
        "CREATE VIEW v AS SELECT id FROM t; GRANT SELECT ON v TO app",
        ["view_of_owner", "error", "view public.v", problem, fix],
    );
    let fix = "REVOKE ALL ON public.m FROM PUBLIC;";
    let plant = "CREATE MATERIALIZED VIEW m AS TABLE t; GRANT SELECT ON m TO PUBLIC";
    finds("matview", ISOLATED, plant, ["view_of_owner", "error", "materialized view public.m", problem, fix]);
}

#[test]
#[cfg_attr(before_pg15, ignore = "security_invoker came with PostgreSQL 15")]
fn a_view_of_a_security_invoker_view_is_found() {
    let plant = "CREATE VIEW inner_view WITH (security_invoker = on) AS TABLE t; CREATE VIEW v AS TABLE inner_view";
    let fix = "ALTER VIEW public.v SET (security_invoker = true);";
    finds("view_of_view", ISOLATED, plant, ["view_of_owner", "error", "view public.v", VIEW_OF_POSTGRES, fix]);
}

#[test]
#[cfg_attr(before_pg15, ignore = "security_invoker came with PostgreSQL 15")]
fn a_view_is_found_once_no_policy_binds_its_owner() {
    let problem = "shows all rows of tables with row-level security, with the rights of owner";
    let before = "CREATE TABLE t (id int, owner text); ALTER TABLE t OWNER TO owners; ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                  CREATE POLICY own ON t USING (owner = auth.user_id()); GRANT SELECT ON t TO owner; CREATE VIEW v AS TABLE t; ALTER VIEW v OWNER TO owner";
    let fix = "ALTER VIEW public.v SET (security_invoker = true);";
    let mut session = Database::new("lint_view_forced").superuser();
    session.run(before);
    assert_eq!(session.lint(), [], "who is bound by the policies may own a view");
    session.run("ALTER TABLE t OWNER TO owner; ALTER TABLE t NO FORCE ROW LEVEL SECURITY");
    let found: Vec<_> = session.lint().into_iter().map(|finding| (finding.problem, finding.fix)).collect();
    assert_eq!(found[0], (problem.to_owned(), fix.to_owned()), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn roles_that_rls_does_not_bind_are_found() {
    let database = Database::new("lint_bypass");
    let mut session = database.superuser();
    // Roles are everybody's, so that other tests must not see this one.
    session.run("BEGIN; CREATE ROLE \"By Pass\" LOGIN BYPASSRLS; CREATE ROLE nologin BYPASSRLS; CREATE ROLE super LOGIN SUPERUSER BYPASSRLS");
    let found = session.lint();
    let fix = "ALTER ROLE \"By Pass\" NOBYPASSRLS;".to_owned();
    let problem = "can connect, and row-level security does not bind it".to_owned();
    assert_eq!(
        found,
        [Finding {
            rule: "role_past_policies".into(),
            severity: "warning".into(),
            object: "role \"By Pass\"".into(),
            problem,
            fix: fix.clone()
        }]
    );
    session.run(&fix);
    assert_eq!(session.lint(), []);
    session.run("ROLLBACK");
}
