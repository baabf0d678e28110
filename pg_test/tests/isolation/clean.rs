//! Schemas without faults, about which `auth.rls_lint` says nothing.

use std::fs;
use std::path::Path;

use crate::server::*;

#[track_caller]
fn silent(name: &str, schema: &str) {
    let mut session = Database::new(&format!("clean_{name}")).superuser();
    session.run(schema);
    assert_eq!(session.lint(), []);
}

const RLS: &str = "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;";

#[test]
fn an_empty_database_has_no_findings() {
    silent("empty", "");
    silent(
        "no_tenants",
        "CREATE TABLE t (id int, tenant int); CREATE VIEW v AS TABLE t; CREATE TEMP TABLE x (tenant_id int)",
    );
}

#[test]
fn a_membership_table_that_nobody_else_reads_is_no_finding() {
    silent("membership", "CREATE TABLE users (id text PRIMARY KEY, tenant_id uuid)");
}

#[test]
fn isolated_tables_are_no_findings() {
    for kind in ["uuid", "text", "varchar(20)", "int"] {
        let name = kind.split('(').next().expect("a name");
        silent(
            &format!("isolated_{name}"),
            &format!(
                "CREATE TABLE t (id int, tenant_id {kind} NOT NULL); CREATE INDEX ON t (tenant_id, id);
                 ALTER TABLE t OWNER TO owner; GRANT SELECT, INSERT, UPDATE, DELETE ON t TO app; SELECT auth.enable_tenant_isolation('t');
                 CREATE TABLE p (tenant_id {kind} PRIMARY KEY) PARTITION BY HASH (tenant_id);
                 CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0);
                 GRANT SELECT ON p TO app; SELECT auth.enable_tenant_isolation('p')"
            ),
        );
    }
    silent(
        "isolated_beside_others",
        "CREATE TABLE t (tenant_id int PRIMARY KEY, owner text); CREATE POLICY own ON t USING (owner = auth.user_id());
         CREATE POLICY open ON t FOR SELECT USING (true); CREATE POLICY anybody ON t FOR INSERT WITH CHECK (true);
         SELECT auth.enable_tenant_isolation('t')",
    );
}

#[test]
fn policies_in_the_cheap_form_are_no_findings() {
    for (number, policy) in [
        "USING (owner = auth.user_id())",
        "USING (id = auth.uid()) WITH CHECK (id = auth.uid())",
        "USING (tenant_id = get_current_user_tenant_id())",
        "USING (owner = (SELECT auth.jwt() ->> 'sub'))",
        "USING (owner = auth.claim('app', 'user') AND auth.has_role('x') AND auth.has_scope('y'))",
        "USING (owner = ANY (auth.tenant_ids()))",
        "USING (owner = (SELECT auth.jwt() -> 'a' ->> 'b') AND (SELECT auth.has_role('x')))",
        "USING ((SELECT auth.has_role('admin') OR auth.has_scope('all')))",
        "USING (owner = (SELECT nullif(current_setting('app.tenant', true), '')))",
        "USING (owner = 'auth.jwt()' AND \"auth.jwt(\" = auth.user_id())",
        "USING (owner = auth.claim(owner))",
        "USING (owner = CURRENT_USER) WITH CHECK (owner = CURRENT_USER)",
        "FOR SELECT USING (owner = 'public')",
        "FOR UPDATE USING (owner = auth.user_id())",
        "FOR INSERT WITH CHECK (id IN (SELECT u FROM ref WHERE u = auth.uid()))",
        "FOR ALL TO owners USING (true) WITH CHECK (true)",
        "USING (false) WITH CHECK (false)",
        "USING (EXISTS (SELECT FROM ref WHERE u = t.id AND s = auth.user_id()))",
    ]
    .into_iter()
    .enumerate()
    {
        silent(
            &format!("policy_{number}"),
            &format!(
                "CREATE TABLE ref (u uuid, s text);
                 CREATE TABLE t (id uuid, owner text, tenant_id uuid, \"auth.jwt(\" text); CREATE INDEX ON t (tenant_id);
                 {RLS} CREATE POLICY p ON t {policy}"
            ),
        );
    }
}

#[test]
fn restrictive_policies_beside_open_ones_are_no_findings() {
    silent(
        "restrictive",
        &format!(
            "CREATE TABLE t (id int, tenant_id uuid PRIMARY KEY); {RLS}
             CREATE POLICY open ON t USING (true) WITH CHECK (true);
             CREATE POLICY tenant ON t AS RESTRICTIVE USING (tenant_id = get_current_user_tenant_id())"
        ),
    );
}

#[test]
#[cfg_attr(before_pg15, ignore = "security_invoker came with PostgreSQL 15")]
fn security_invoker_views_are_no_findings() {
    for (number, option) in
        ["security_invoker", "security_invoker = on", "security_barrier, security_invoker = 1"].iter().enumerate()
    {
        silent(
            &format!("view_{number}"),
            &format!(
                "CREATE TABLE t (tenant_id uuid PRIMARY KEY); SELECT auth.enable_tenant_isolation('t');
                 CREATE VIEW v WITH ({option}) AS TABLE t; GRANT SELECT ON v TO app;
                 CREATE MATERIALIZED VIEW m AS TABLE t"
            ),
        );
    }
}

#[test]
fn tables_of_extensions_and_of_the_system_are_no_findings() {
    silent("extension", "CREATE TABLE t (tenant_id uuid); ALTER EXTENSION pg_jwks ADD TABLE t");
}

#[test]
fn the_templates_have_no_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rls_examples");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("rls_examples").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        if cfg!(before_pg15) && path.ends_with("views.sql") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        let database = Database::empty(&format!("template_{name}"));
        database.run_file(&path);
        assert_eq!(database.superuser().lint(), [], "{name}");
    }
}
