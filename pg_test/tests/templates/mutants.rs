//! The matrix finds out each policy that is broken on purpose.

use crate::matrix::{exposed, violation};
use crate::server::{run, texts};
use crate::specs;

/// A statement that breaks something, and the one that mends it.
struct Mutant {
    breaks: String,
    mends: String,
}

/// Each condition of each policy replaced by `true`, and each table without its policies.
fn mutants(client: &mut postgres::Client, schema: &str) -> Vec<Mutant> {
    let statements = |client: &mut postgres::Client, query: &str| {
        let rows = client.query(query, &[&schema]).expect(query);
        rows.into_iter().map(|row| Mutant { breaks: row.get(0), mends: row.get(1) }).collect::<Vec<_>>()
    };
    let mut all = statements(
        client,
        "SELECT format('ALTER POLICY %I ON %I.%I %s (true)', policyname, schemaname, tablename, clause),
                format('ALTER POLICY %I ON %I.%I %s (%s)', policyname, schemaname, tablename, clause, condition)
           FROM pg_policies, LATERAL (VALUES ('USING', qual), ('WITH CHECK', with_check)) AS c (clause, condition)
          WHERE schemaname = $1 AND condition IS NOT NULL",
    );
    all.extend(statements(
        client,
        "SELECT format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', oid::regclass),
                format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', oid::regclass)
           FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relrowsecurity",
    ));
    all
}

#[test]
fn each_broken_policy_is_found() {
    let mut survivors = Vec::new();
    for template in specs::all() {
        let database = exposed(template, "mutants");
        let mut superuser = database.superuser();
        let mutants = mutants(&mut superuser, template.name);
        let tables = texts(
            &mut superuser,
            &format!("SELECT DISTINCT tablename::text FROM pg_policies WHERE schemaname = '{}'", template.name),
        );
        assert!(mutants.len() >= 2 * tables.len(), "{}: {} mutants", template.name, mutants.len());
        for Mutant { breaks, mends } in mutants {
            run(&mut superuser, &breaks);
            if violation(&database, template).is_ok() {
                survivors.push(breaks);
            }
            run(&mut superuser, &mends);
        }
        assert_eq!(violation(&database, template), Ok(()), "{}, mended", template.name);
    }
    assert!(survivors.is_empty(), "not found: {survivors:#?}");
}
