//! The rules about what policies say, and whom they do not bind.

use pg_test::long;

use crate::lint::finds;
use crate::server::*;

const POLICY: &str = "policy p on table public.t";

/// A table with one policy of its owner's rows.
const OWN: &str = "CREATE TABLE t (id uuid, tenant_id uuid PRIMARY KEY, owner text, shared boolean);
    ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON t USING (owner = auth.user_id());";

#[test]
fn claims_that_users_write_are_found_in_each_form() {
    let fix = "ALTER POLICY p ON public.t USING (false);";
    for (number, (condition, claim)) in [
        ("(SELECT auth.jwt() -> 'user_metadata' ->> 'role') = 'admin'", "user_metadata.role"),
        ("(SELECT auth.session() #>> '{user_metadata,role}') = 'admin'", "user_metadata.role"),
        ("(SELECT (auth.jwt())['user_metadata']['role']) = '1'", "user_metadata.role"),
        ("(SELECT auth.claim('unsafe_metadata', 'role')) = 'admin'", "unsafe_metadata.role"),
        ("(SELECT jsonb_extract_path_text(auth.jwt(), 'user_metadata', 'role')) = 'x'", "user_metadata.role"),
        ("(SELECT auth.jwt() ->> 'https://example.com/user_metadata') = 'x'", "https://example.com/user_metadata"),
        ("owner = ANY (ARRAY[(SELECT auth.claim('raw_user_meta_data'))])", "raw_user_meta_data"),
        ("EXISTS (SELECT FROM ref WHERE a = (SELECT auth.claim('user_metadata')))", "user_metadata"),
    ]
    .into_iter()
    .enumerate()
    {
        let problem = format!("trusts claim {claim}, which users can change themselves");
        let plant = format!("ALTER POLICY p ON t USING (owner = auth.user_id() OR {condition})");
        finds(
            &format!("claim_{number}"),
            &format!("CREATE TABLE ref (a text); {OWN}"),
            &plant,
            ["claim_of_user", "error", POLICY, &problem, fix],
        );
    }
    let problem = "trusts claim nickname, which users can change themselves";
    let plant = "ALTER POLICY p ON t USING (owner = (SELECT auth.claim('nickname')))";
    finds("claim_profile", OWN, plant, ["claim_of_user", "warning", POLICY, problem, fix]);
}

#[test]
fn conditions_that_are_always_true_are_found() {
    let problem = "lets everybody at every row";
    let fix = "ALTER POLICY p ON public.t USING (tenant_id = public.get_current_user_tenant_id()) WITH CHECK (tenant_id = public.get_current_user_tenant_id());";
    for (number, condition) in [
        "1 = 1",
        "NOT false",
        "owner = auth.user_id() OR 'a' = 'a'",
        "coalesce(true, owner = auth.user_id())",
        "CASE WHEN 2 > 1 THEN true ELSE owner = auth.user_id() END",
        "(SELECT true)",
        "'x' IN ('x', 'y')",
        "NOT ('' IS NULL)",
    ]
    .into_iter()
    .enumerate()
    {
        let plant = format!("ALTER POLICY p ON t USING ({condition})");
        finds(&format!("true_{number}"), OWN, &plant, ["policy_for_everybody", "error", POLICY, problem, fix]);
    }
}

#[test]
fn policies_that_hold_without_identity_are_found() {
    let problem = "lets sessions without identity at every row";
    for (number, condition) in [
        "((owner = auth.user_id()) OR (auth.user_id() IS NULL))",
        "((owner = auth.user_id()) OR (( SELECT auth.user_id() AS user_id) IS NULL))",
        "(COALESCE(auth.user_id(), ''::text) = ''::text)",
        "(NOT ( SELECT auth.has_role('banned'::text) AS has_role))",
        "(( SELECT auth.claim(VARIADIC ARRAY['plan'::text]) AS claim) IS DISTINCT FROM 'free'::text)",
        "((auth.uid() IS NULL) OR (owner = auth.user_id()))",
        "((public.get_current_user_tenant_id() IS NULL) OR (tenant_id = public.get_current_user_tenant_id()))",
        "(NULLIF(auth.tenant_id(), ''::text) IS NULL)",
    ]
    .into_iter()
    .enumerate()
    {
        let plant = format!("ALTER POLICY p ON t USING ({condition})");
        let fix = format!("ALTER POLICY p ON public.t USING (({condition}) AND (SELECT auth.jwt()) IS NOT NULL);");
        finds(&format!("nobody_{number}"), OWN, &plant, ["policy_without_identity", "error", POLICY, problem, &fix]);
    }
    let fix = "ALTER POLICY p ON public.t WITH CHECK ((((owner = auth.user_id()) OR (auth.user_id() IS NULL))) AND (SELECT auth.jwt()) IS NOT NULL);";
    let plant = "DROP POLICY p ON t; CREATE POLICY p ON t FOR INSERT WITH CHECK (owner = auth.user_id() OR auth.user_id() IS NULL)";
    let before = format!("{OWN} CREATE POLICY q ON t FOR DELETE USING (owner = auth.user_id())");
    finds("nobody_insert", &before, plant, ["policy_without_identity", "error", POLICY, problem, fix]);
}

/// Reading a policy must not run what its owner wrote, as whoever asks.
#[test]
fn linting_runs_no_function_of_users_and_survives_errors_in_policies() {
    let database = Database::new("lint_runs_nothing");
    let mut owner = database.connect("owner");
    owner.run(
        "CREATE SEQUENCE ran; GRANT ALL ON SEQUENCE ran TO PUBLIC;
         CREATE FUNCTION evil(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS
             $$ BEGIN RETURN nextval('public.ran') > 0; END $$;
         CREATE FUNCTION evil(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = '' AS
             $$ SELECT public.evil($1) $$;
         CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = evil);
         CREATE DOMAIN trap AS text CHECK (evil(VALUE));
         CREATE TYPE colour AS ENUM ('red', 'green');
         CREATE CAST (colour AS boolean) WITH INOUT;
         CREATE TABLE t (id int, owner text);
         ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY a ON t FOR SELECT USING (evil('x'));
         CREATE POLICY b ON t FOR INSERT WITH CHECK ('x' === 'y');
         CREATE POLICY c ON t FOR DELETE USING ('x'::trap = 'x');
         CREATE POLICY d ON t FOR UPDATE USING (1 / 0 = 1) WITH CHECK (owner = auth.user_id());
         CREATE POLICY e ON t FOR UPDATE TO owners USING (CASE WHEN evil('x') THEN repeat('x', 1000000000) = repeat('x', 1000000000) END);
         CREATE POLICY f ON t FOR SELECT TO owners USING (ROW('red'::colour, 'x'::trap) = ROW('green'::colour, 'x'::trap));
         CREATE POLICY g ON t FOR DELETE TO owners USING ('{x}'::trap[] = '{x}'::trap[] OR 'x' = ANY (ARRAY['x']::trap[]))",
    );
    let ran = "SELECT last_value::text || is_called FROM ran";
    let before = owner.column(ran);
    let start = std::time::Instant::now();
    for mut session in [database.superuser(), database.connect("app")] {
        assert!(session.lint().len() < 7);
    }
    // Nor does it make a value of a gigabyte.
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
    assert_eq!(owner.column(ran), before);
    // What can be known is still known.
    let query = "SELECT polname || ' ' || coalesce(r.verdict::text, '-') FROM pg_policy, auth.rls_expression(polqual, polrelid) r ORDER BY 1";
    assert_eq!(database.superuser().column(query), ["a -", "c -", "d -", "e -", "f -", "g -"]);
}

#[test]
fn privileges_that_policies_do_not_bind_are_found() {
    let fix = |grantee: &str| format!("REVOKE TRUNCATE, REFERENCES, TRIGGER ON public.t FROM {grantee};");
    for (name, plant, severity, problem, grantee) in [
        ("all", "GRANT ALL ON t TO app", "error", "grants REFERENCES to app, TRIGGER to app, TRUNCATE to app", "app"),
        ("truncate", "GRANT TRUNCATE ON t TO PUBLIC", "error", "grants TRUNCATE to PUBLIC", "PUBLIC"),
        ("trigger", "GRANT TRIGGER, SELECT ON t TO app", "error", "grants TRIGGER to app", "app"),
        (
            "references",
            "GRANT REFERENCES (id) ON t TO app, member",
            "warning",
            "grants REFERENCES to app, REFERENCES to member",
            "app, member",
        ),
    ] {
        let problem = format!("{problem}, which policies do not bind");
        let finding = ["privilege_past_policies", severity, "table public.t", &problem, &fix(grantee)];
        finds(&format!("privilege_{name}"), OWN, plant, finding);
    }
}

#[test]
fn functions_that_read_past_policies_for_others_are_found() {
    let problem = "reads public.t with the rights of postgres, whom policies do not bind";
    for (name, body) in [
        ("sql", "LANGUAGE sql AS 'SELECT count(*) FROM t'"),
        ("plpgsql", r#"LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public."t"); END'"#),
        ("atomic", "BEGIN ATOMIC SELECT count(*) FROM t; END"),
    ] {
        let plant = format!("CREATE FUNCTION f(a int) RETURNS bigint SECURITY DEFINER {body}");
        let fix = "ALTER FUNCTION public.f(integer) SECURITY INVOKER;";
        finds(
            &format!("definer_{name}"),
            OWN,
            &plant,
            ["function_of_owner", "error", "function public.f(integer)", problem, fix],
        );
    }
    let mut session = Database::new("definer_fine").superuser();
    session.run(OWN);
    session.run(
        "CREATE FUNCTION own_rows() RETURNS bigint SECURITY DEFINER SET search_path = public, pg_temp LANGUAGE sql
             AS 'SELECT count(*) FROM t WHERE owner = auth.user_id()';
         CREATE FUNCTION private() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM t';
         REVOKE ALL ON FUNCTION private() FROM PUBLIC;
         CREATE FUNCTION other() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM ran';
         CREATE FUNCTION fired() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN DELETE FROM t; RETURN NEW; END';
         CREATE FUNCTION invoker() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t'; CREATE TABLE ran ()"
            .replace("CREATE TABLE ran ()", "")
            .replacen("CREATE FUNCTION own_rows", "CREATE TABLE ran (); CREATE FUNCTION own_rows", 1)
            .as_str(),
    );
    assert_eq!(session.lint(), []);
}

#[test]
fn functions_of_policies_without_search_path_are_found() {
    let problem = "is called by policies, and finds names by the search_path of whoever asks";
    let plant = "CREATE SCHEMA \"My App\"; CREATE FUNCTION \"My App\".mine(text) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT $1 = auth.user_id()';
                 ALTER POLICY p ON t USING (\"My App\".mine(owner))";
    let fix = "ALTER FUNCTION \"My App\".mine(text) SET search_path = pg_catalog, \"My App\", pg_temp;";
    let finding = ["function_search_path", "warning", "function \"My App\".mine(text)", problem, fix];
    finds("search_path", OWN, plant, finding);
}

#[test]
fn foreign_tables_with_tenants_are_found() {
    let plant = "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
                 CREATE FOREIGN TABLE f (tenant_id uuid) SERVER nowhere; GRANT SELECT ON f TO app";
    let problem = "has column tenant_id, and row-level security does not hold for it";
    let fix = "REVOKE ALL ON public.f FROM app;";
    finds("foreign_table", OWN, plant, ["foreign_table", "error", "foreign table public.f", problem, fix]);
}

#[test]
fn several_policies_where_one_would_do_are_found() {
    let problem =
        |command: &str| format!("has 2 permissive policies for {command} and the same roles, where one would do");
    let fix = "DROP POLICY q ON public.t; ALTER POLICY p ON public.t USING (((owner = auth.user_id())) OR (shared));";
    let plant = "CREATE POLICY q ON t USING (shared)";
    finds("several_all", OWN, plant, ["several_policies", "notice", "table public.t", &problem("ALL"), fix]);
    let before = "CREATE TABLE t (owner text, shared boolean); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY a ON t FOR UPDATE TO app, owner USING (owner = auth.user_id()) WITH CHECK (auth.role() = 'x')";
    let plant = "CREATE POLICY b ON t FOR UPDATE TO owner, app USING (shared); CREATE POLICY c ON t FOR SELECT TO app, owner USING (shared)";
    let fix = "DROP POLICY b ON public.t; ALTER POLICY a ON public.t USING (((owner = auth.user_id())) OR (shared)) WITH CHECK (((auth.role() = 'x'::text)) OR (shared));";
    finds("several_update", before, plant, ["several_policies", "notice", "table public.t", &problem("UPDATE"), fix]);
}

/// Roles that are meant to see all rows are named, and then no fault.
#[test]
fn roles_that_are_meant_to_see_all_rows_are_no_findings() {
    let mut session = Database::new("bypass_roles").superuser();
    session.run(&format!("{OWN} ALTER TABLE t OWNER TO owner; ALTER TABLE t NO FORCE ROW LEVEL SECURITY"));
    // Roles are everybody's, so that other tests must not see this one.
    session.run(
        "BEGIN; CREATE ROLE \"By Pass\" LOGIN BYPASSRLS; GRANT ALL ON t TO \"By Pass\"; GRANT TRUNCATE ON t TO member",
    );
    let rules = |session: &mut Session| -> Vec<_> {
        session.lint().into_iter().map(|found| (found.rule, found.object)).collect()
    };
    let privilege = ("privilege_past_policies".to_owned(), "table public.t".to_owned());
    let owner = ("owner_not_bound".to_owned(), "table public.t".to_owned());
    let role = ("role_past_policies".to_owned(), "role \"By Pass\"".to_owned());
    assert_eq!(rules(&mut session), [privilege.clone(), role, owner.clone()]);
    session.run("SET LOCAL pg_jwks.bypass_roles = 'another, By Pass'");
    assert_eq!(rules(&mut session), [privilege, owner]);
    session.run("SET LOCAL pg_jwks.bypass_roles = 'By Pass ,owner,member'");
    assert_eq!(rules(&mut session), []);
    session.run("ROLLBACK");
    for wrong in ["\"By Pass\"", &"x".repeat(64)] {
        assert_eq!(session.refused(&format!("SET pg_jwks.bypass_roles = '{wrong}'")).sqlstate, "22023");
    }
}

/// Policies and grants by the thousand: a lint belongs into every deployment.
#[test]
fn ten_thousand_tables_and_policies_take_less_than_five_seconds() {
    // A fifth of both, unless there is time.
    let (count, seconds) = if long::is_asked_for() { (10_000, 5.0) } else { (2000, 1.0) };
    let database = Database::new("lint_many");
    let mut session = database.superuser();
    session.run(&format!(
        "DO $$ BEGIN FOR n IN 1..{count} LOOP
             EXECUTE format('CREATE TABLE t%1$s (id bigint, owner text, tenant_id uuid NOT NULL);
                 ALTER TABLE t%1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                 CREATE POLICY p ON t%1$s USING (tenant_id = (SELECT get_current_user_tenant_id()) AND owner = auth.user_id());
                 GRANT SELECT, INSERT ON t%1$s TO app;', n);
             IF n % 500 = 0 THEN COMMIT; END IF;
         END LOOP; END $$"
    ));
    session.run("ANALYZE pg_catalog.pg_class; ANALYZE pg_catalog.pg_attribute; ANALYZE pg_catalog.pg_policy; ANALYZE pg_catalog.pg_depend");
    let start = std::time::Instant::now();
    let findings = session.lint();
    let took = start.elapsed();
    assert_eq!(findings.len(), count, "each lacks an index: {:?}", findings.first());
    assert!(findings.iter().all(|found| found.rule == "tenant_without_index"));
    println!("{count} tables and policies: {took:?}");
    assert!(took.as_secs_f64() < seconds, "{took:?}");
}

#[test]
fn wrapped_readers_are_found_where_some_values_have_many_more_rows() {
    let mut session = Database::new("wrapped").superuser();
    let rows = |table: &str, often: &str| {
        format!(
            "INSERT INTO {table} SELECT CASE WHEN {often} THEN '00000000-0000-4000-8000-000000000000' ELSE md5((i % 500)::text)::uuid END, i
                 FROM generate_series(1, 20000) i; ANALYZE {table}"
        )
    };
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (tenant_id uuid, id int); CREATE INDEX ON {name} (tenant_id); ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY own ON {name} USING (tenant_id = (SELECT get_current_user_tenant_id()) OR tenant_id = (SELECT auth.uid()))"
        )
    };
    session.run(&format!("{}; {}; {}; {}", table("even"), rows("even", "false"), table("small"), "ANALYZE small"));
    session.run(&format!("{}; {}", table("uneven"), rows("uneven", "i % 10 < 8")));
    session.run(
        "CREATE TABLE isolated (tenant_id uuid, id int); CREATE INDEX ON isolated (tenant_id);
         SELECT auth.enable_tenant_isolation('isolated'); SET pg_jwks.protect_isolation = off;
         ALTER POLICY tenant_isolation ON isolated USING (tenant_id = (SELECT get_current_user_tenant_id()))
             WITH CHECK (tenant_id = (SELECT get_current_user_tenant_id()))",
    );
    session.run(&rows("isolated", "i % 10 < 8"));
    let problem =
        "hides the value of column tenant_id from the planner, though some values have many more rows than others";
    let mut fixes = Vec::new();
    for finding in session.lint() {
        assert_eq!(
            (finding.rule.as_str(), finding.severity.as_str(), finding.problem.as_str()),
            ("wrapped_reader", "notice", problem)
        );
        session.run(&finding.fix);
        fixes.push((finding.object, finding.fix));
    }
    let expected = [
        (
            "policy own on table public.uneven",
            "ALTER POLICY own ON public.uneven USING (((tenant_id = public.get_current_user_tenant_id()) OR (tenant_id = auth.uid())));",
        ),
        (
            "policy tenant_isolation on table public.isolated",
            "SELECT auth.enable_tenant_isolation('public.isolated', 'tenant_id');",
        ),
    ];
    assert_eq!(fixes, expected.map(|(object, fix)| (object.to_owned(), fix.to_owned())));
    assert_eq!(session.lint(), []);
}
