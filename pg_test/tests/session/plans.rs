//! Prepared statements, cached plans and cursors across a change of identity.

use crate::server::*;
use postgres::Client;

/// Rows of `note` that the session sees, by a query that was prepared before.
fn seen(client: &mut Client, statement: &str) -> Vec<String> {
    let messages = client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let text = |message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.into_iter().filter_map(text).collect()
}

const SUBS: [&str; 3] = ["alice", "bob", "carol"];

/// Each query gives the rows of the user; its plan is made once and kept.
#[test]
fn generic_plans_follow_the_identity() {
    let name = database("plans");
    run(
        &mut server().connect("postgres", name),
        "CREATE INDEX ON note (owner);
         CREATE VIEW own_notes WITH (security_barrier) AS SELECT owner FROM note WHERE owner = auth.user_id();
         CREATE FUNCTION by_sql() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT owner FROM note WHERE owner = auth.user_id()';
         CREATE FUNCTION by_plpgsql() RETURNS text LANGUAGE plpgsql STABLE AS
            $$DECLARE found text; who text := auth.user_id();
              BEGIN SELECT owner INTO found FROM note WHERE owner = auth.user_id();
              IF found IS DISTINCT FROM who THEN RAISE '% is not %', found, who; END IF; RETURN found; END$$;
         GRANT ALL ON own_notes TO PUBLIC",
    );
    for scan in ["enable_indexscan = off; SET enable_bitmapscan = off", "enable_seqscan = off"] {
        let mut client = server().connect("app", name);
        run(&mut client, &format!("SET plan_cache_mode = force_generic_plan; SET {scan}"));
        run(
            &mut client,
            "PREPARE rls AS SELECT owner FROM note;
             PREPARE filter AS SELECT owner FROM note WHERE owner = auth.user_id();
             PREPARE once AS SELECT owner FROM note WHERE owner = (SELECT auth.user_id());
             PREPARE claim AS SELECT owner FROM note WHERE owner = auth.claim('sub') AND auth.jwt() ->> 'sub' = owner;
             PREPARE view AS SELECT owner FROM own_notes;
             PREPARE sql AS SELECT by_sql();
             PREPARE plpgsql AS SELECT by_plpgsql()",
        );
        let statements = ["rls", "filter", "once", "claim", "view", "sql", "plpgsql"];
        for round in 0..3 {
            for sub in SUBS {
                init(&mut client, sub);
                for statement in statements {
                    assert_eq!(seen(&mut client, &format!("EXECUTE {statement}")), [sub], "{statement}, {round}");
                }
            }
            try_init(&mut client, "garbage").expect_err("garbage");
            for statement in statements {
                assert!(seen(&mut client, &format!("EXECUTE {statement}")).is_empty(), "{statement}");
            }
            run(&mut client, &format!("BEGIN; {}", local_init_statement(&token("bob"))));
            for statement in statements {
                assert_eq!(seen(&mut client, &format!("EXECUTE {statement}")), ["bob"], "{statement}");
            }
            run(&mut client, "COMMIT");
            for statement in statements {
                assert!(seen(&mut client, &format!("EXECUTE {statement}")).is_empty(), "{statement}");
            }
        }
        let plan = seen(&mut client, "EXPLAIN EXECUTE filter").join("\n");
        assert_eq!(plan.contains("Index"), scan.starts_with("enable_seqscan"), "{plan}");
        assert!(plan.contains("auth.user_id()"), "the plan has the value in it: {plan}");
    }
}

/// One expression evaluated again and again while the identity changes under it.
#[test]
fn one_statement_sees_the_changes_that_it_makes() {
    let mut client = session();
    let tokens: Vec<String> = (0..200).map(|number| token(&format!("user {number} {}", "x".repeat(number)))).collect();
    let seen: Vec<String> = client
        .query(
            "SELECT auth.user_id() FROM unnest($1::text[]) AS t WHERE auth.jwt_session_init(t) IS NOT NULL",
            &[&tokens],
        )
        .expect("many changes")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(seen.len(), 200);
    for (number, sub) in seen.iter().enumerate() {
        assert_eq!(*sub, format!("user {number} {}", "x".repeat(number)));
    }
}

/// Many identities of many sizes, so that freed memory would be used again.
fn churn(client: &mut Client) {
    for number in 0..200 {
        init(client, &format!("somebody {}", "y".repeat(number * 7 % 500)));
        let _: Option<String> = value(client, "SELECT auth.user_id() || auth.claim('sub') || auth.jwt()::text");
    }
}

/// A cursor whose filter is evaluated row by row follows the identity; one whose key was computed at its first row
/// keeps that key. Neither mixes users up, reads freed memory, or outlives the transaction.
#[test]
fn cursors_stay_sound_when_the_identity_changes() {
    let name = database("cursors");
    run(
        &mut server().connect("postgres", name),
        "CREATE TABLE item AS SELECT n AS id, ('{alice,bob,carol}'::text[])[n % 3 + 1] AS owner
            FROM generate_series(1, 3000) n;
         CREATE INDEX ON item (owner, id); ANALYZE item; GRANT SELECT ON item TO PUBLIC",
    );
    for (settings, by_key) in [
        ("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off", false),
        ("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off", true),
    ] {
        let mut client = server().connect("app", name);
        run(&mut client, settings);
        init(&mut client, "alice");
        run(
            &mut client,
            "BEGIN; DECLARE c CURSOR FOR SELECT owner || id FROM item WHERE owner = auth.user_id() ORDER BY owner, id",
        );
        if !by_key {
            run(&mut client, "CLOSE c; DECLARE c CURSOR FOR SELECT owner || id FROM item WHERE owner = auth.user_id()");
        }
        let first = seen(&mut client, "FETCH 100 FROM c");
        assert_eq!(first.len(), 100);
        assert!(first.iter().all(|row| row.starts_with("alice")), "{first:?}");
        churn(&mut client);
        init(&mut client, "bob");
        let second = seen(&mut client, "FETCH 100 FROM c");
        let expected = if by_key { "alice" } else { "bob" };
        assert_eq!(second.len(), 100);
        assert!(second.iter().all(|row| row.starts_with(expected)), "{second:?}");
        assert!(second.iter().all(|row| !first.contains(row)));
        run(&mut client, "SELECT auth.jwt_session_clear()");
        churn(&mut client);
        run(&mut client, "SELECT auth.jwt_session_clear()");
        let third = seen(&mut client, "FETCH 100 FROM c");
        assert_eq!(third.len(), if by_key { 100 } else { 0 });
        run(&mut client, "COMMIT");
        assert_eq!(refused(&mut client, "FETCH 1 FROM c").sqlstate, "34000");
    }
}

/// A `WITH HOLD` cursor keeps the rows that it had at the commit, as it does for any query.
#[test]
fn a_held_cursor_keeps_the_rows_of_its_transaction() {
    let mut client = session();
    run(&mut client, &format!("BEGIN; {}", local_init_statement(&token("alice"))));
    run(&mut client, "DECLARE held CURSOR WITH HOLD FOR SELECT owner || ' ' || auth.user_id() FROM big; COMMIT");
    assert_eq!(identity(&mut client), None);
    churn(&mut client);
    init(&mut client, "bob");
    let rows = seen(&mut client, "FETCH ALL FROM held");
    assert_eq!(rows.len(), 10_000);
    assert!(rows.iter().all(|row| row == "alice alice"), "{:?}", rows.first());
    assert_eq!(seen(&mut client, "SELECT owner FROM note"), ["bob"]);
    run(&mut client, "DISCARD ALL");
    assert_eq!(refused(&mut client, "FETCH 1 FROM held").sqlstate, "34000");
}

/// The value that a row got stays what it was, also for claims of other types.
#[test]
fn values_read_before_a_change_stay_what_they_were() {
    let mut client = session();
    let tokens: Vec<String> = (0..300).map(|number| token(&format!("{number}-{}", "z".repeat(number % 97)))).collect();
    let row = client
        .query_one(
            "SELECT array_agg(sub), array_agg(doc ->> 'sub'), array_agg(claim)
             FROM (SELECT auth.user_id() AS sub, auth.jwt() AS doc, auth.claim('sub') AS claim
                   FROM unnest($1::text[]) AS t WHERE auth.jwt_session_init(t) IS NOT NULL OFFSET 0) AS reads",
            &[&tokens],
        )
        .expect("many changes");
    let expected: Vec<String> = (0..300).map(|number| format!("{number}-{}", "z".repeat(number % 97))).collect();
    for column in 0..3 {
        assert_eq!(row.get::<_, Vec<String>>(column), expected, "{column}");
    }
}
