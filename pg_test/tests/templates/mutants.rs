//! The matrix finds out each policy that is broken on purpose.

use postgres::Client;

use crate::matrix::{exposed, violation};
use crate::server::run;
use crate::specs;

/// A statement that breaks something, and the one that mends it.
struct Mutant {
    breaks: String,
    mends: String,
}

/// Each condition of each policy made weaker, and each table without its policies.
fn mutants(client: &mut Client, schema: &str) -> Vec<Mutant> {
    let conditions =
        "SELECT format('ALTER POLICY %I ON %I.%I %s ', policyname, schemaname, tablename, clause), condition
           FROM pg_policies, LATERAL (VALUES ('USING', qual), ('WITH CHECK', with_check)) AS c (clause, condition)
          WHERE schemaname = $1 AND condition IS NOT NULL";
    let tables = "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class
          WHERE relnamespace = $1::text::regnamespace AND relrowsecurity";
    let mut all = Vec::new();
    for row in client.query(conditions, &[&schema]).expect(conditions) {
        let (alter, condition): (String, String) = (row.get(0), row.get(1));
        all.extend(
            weaker(&condition).into_iter().map(|weaker| Mutant {
                breaks: format!("{alter} ({weaker})"),
                mends: format!("{alter} ({condition})"),
            }),
        );
    }
    for row in client.query(tables, &[&schema]).expect(tables) {
        let alter = |verb| format!("ALTER TABLE {} {verb} ROW LEVEL SECURITY", row.get::<_, String>(0));
        all.push(Mutant { breaks: alter("DISABLE"), mends: alter("ENABLE") });
    }
    all
}

/// The condition without any of its parts, without each of them, and with lower levels.
fn weaker(condition: &str) -> Vec<String> {
    let mut weaker = vec!["true".to_owned()];
    let parts = parts(condition);
    if parts.len() > 1 {
        for left_out in 0..parts.len() {
            let kept: Vec<&str> =
                parts.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, part)| *part).collect();
            weaker.push(kept.join(" AND "));
        }
    }
    for (level, lower) in [(">= 3", ">= 2"), (">= 2", ">= 1")] {
        if condition.contains(level) {
            weaker.push(condition.replace(level, lower));
        }
    }
    weaker
}

/// What AND joins, where the server writes `((a) AND (b))`.
fn parts(condition: &str) -> Vec<&str> {
    let inner = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(condition);
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (place, character) in inner.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && inner[place..].starts_with(" AND ") => {
                parts.push(&inner[begin..place]);
                begin = place + " AND ".len();
            }
            _ => {}
        }
    }
    parts.push(&inner[begin..]);
    parts
}

#[test]
fn each_broken_policy_is_found() {
    let (mut found, mut survivors) = (0, Vec::new());
    for template in specs::all() {
        let database = exposed(template, "mutants");
        let mut superuser = database.superuser();
        for Mutant { breaks, mends } in mutants(&mut superuser, template.name) {
            run(&mut superuser, &breaks);
            match violation(&database, template) {
                Ok(()) => survivors.push(breaks),
                Err(_) => found += 1,
            }
            run(&mut superuser, &mends);
        }
        assert_eq!(violation(&database, template), Ok(()), "{}, mended", template.name);
    }
    assert!(survivors.is_empty(), "not found: {survivors:#?}");
    assert!(found > 80, "only {found} were tried");
}
