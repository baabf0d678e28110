//! What a call site keeps is what the next row would find: for each reader with arguments, whatever the arguments are.

use serde_json::json;

use crate::server::*;

const READERS: [(&str, &str, &str); 3] = [
    ("auth.claim(%)", "alice", "bob"),
    ("auth.has_scope(%)::text", "true", "false"),
    ("auth.has_role(%)::text", "true", "false"),
];

fn named(sub: &str) -> String {
    let word = if sub == "alice" { "yes" } else { "no" };
    token_with(json!({ "sub": sub, "who": sub, "scope": word, "role": word }))
}

fn alice() -> postgres::Client {
    let mut client = session();
    try_init(&mut client, &named("alice")).expect("a good token");
    client
}

/// What asks for alice's claim, scope or role.
fn argument(reader: &str) -> &'static str {
    if reader.contains("claim") { "who" } else { "yes" }
}

fn column(client: &mut postgres::Client, query: &str) -> Vec<Option<String>> {
    client.query(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).iter().map(|row| row.get(0)).collect()
}

#[test]
fn arguments_that_differ_from_row_to_row_are_read_at_each() {
    let mut client = alice();
    for (reader, own, _) in READERS {
        let word = argument(reader);
        let query = format!(
            "SELECT {} FROM (VALUES ('{word}'), ('x'), (NULL), ('{word}')) AS v (a)",
            reader.replace('%', "v.a")
        );
        let other = reader.contains("has").then(|| "false".to_owned());
        let null = other.clone();
        assert_eq!(column(&mut client, &query), [Some(own.into()), other, null, Some(own.into())], "{reader}");
    }
}

#[test]
fn null_and_variadic_arguments_are_what_they_are() {
    let mut client = alice();
    let query = "SELECT concat_ws(' ', auth.claim('who'), auth.claim(VARIADIC ARRAY['who']), auth.claim(VARIADIC '{who}'),
        auth.claim(VARIADIC NULL) IS NULL, auth.claim(NULL) IS NULL, auth.claim('who', NULL) IS NULL, auth.claim(VARIADIC '{}') IS NULL,
        auth.has_scope(NULL), auth.has_role(NULL)) FROM generate_series(1, 2)";
    let row = column(&mut client, query);
    assert_eq!(row[0], row[1]);
    assert_eq!(row[0].as_deref().map(|row| &row[..21]), Some("alice alice alice t t"));
    assert!(row[0].as_deref().is_some_and(|row| row.ends_with(" f f")), "{row:?}");
}

#[test]
fn parameters_of_generic_plans_are_read_at_each_execution() {
    let mut client = alice();
    run(&mut client, "SET plan_cache_mode = force_generic_plan");
    for (reader, own, _) in READERS {
        let query = format!("SELECT {} FROM generate_series(1, 2)", reader.replace('%', "$1"));
        let statement = client.prepare(&query).expect("a statement");
        for (word, expected) in [
            (argument(reader), Some(own)),
            ("x", reader.contains("has").then_some("false")),
            (argument(reader), Some(own)),
        ] {
            let rows = client.query(&statement, &[&word]).expect("rows");
            assert!(rows.iter().all(|row| row.get::<_, Option<&str>>(0) == expected), "{reader} of {word}");
        }
    }
}

/// PL/pgSQL keeps an expression, and what call sites keep with it, while its variables change.
#[test]
fn variables_of_pl_pgsql_are_read_at_each_evaluation() {
    let mut client = alice();
    for (reader, own, _) in READERS {
        let word = argument(reader);
        let body = format!(
            "DECLARE words text[] := '{{{word},x,{word}}}'; word text; found text := ''; same text := ''; BEGIN
                 FOREACH word IN ARRAY words LOOP
                     found := found || coalesce({}, '-') || ' ';
                     same := same || {} || ' ';
                 END LOOP; RETURN found || same; END",
            reader.replace('%', "word"),
            reader.replace('%', &format!("'{word}'")),
        );
        run(
            &mut client,
            &format!("CREATE OR REPLACE FUNCTION pg_temp.read() RETURNS text LANGUAGE plpgsql AS $$ {body} $$"),
        );
        let other = if reader.contains("has") { "false" } else { "-" };
        let expected = format!("{own} {other} {own} {own} {own} {own} ");
        assert_eq!(column(&mut client, "SELECT pg_temp.read()"), [Some(expected)], "{reader}");
    }
}

#[test]
fn an_identity_that_changes_between_rows_is_read_at_each() {
    for (reader, own, other) in READERS {
        let mut client = alice();
        let reader = reader.replace('%', &format!("'{}'", argument(reader)));
        // The second row's init comes before the reader.
        let change = format!(
            "SELECT {reader} FROM generate_series(1, 3) AS n,
                 LATERAL (SELECT CASE WHEN n = 2 THEN auth.jwt_session_init('{}')::text END OFFSET 0) AS init (done)
              WHERE done IS NULL OR done = ''",
            named("bob")
        );
        assert_eq!(
            column(&mut client, &change),
            [Some(own.into()), Some(other.into()), Some(other.into())],
            "{reader}"
        );
        let clear = format!(
            "SELECT {reader} FROM generate_series(1, 2) AS n,
                 LATERAL (SELECT CASE WHEN n = 2 THEN auth.jwt_session_clear()::text END OFFSET 0) AS cleared (done)
              WHERE done IS NULL OR done = ''"
        );
        let nobody = reader.contains("has").then(|| "false".to_owned());
        assert_eq!(column(&mut client, &clear), [Some(other.into()), nobody], "{reader}");
    }
}

#[test]
fn a_setting_that_changes_between_rows_is_read_at_each() {
    let mut client = superuser();
    try_init(&mut client, &token_with(json!({ "sub": "a", "role": "one", "roles": ["two"] }))).expect("a good token");
    let query = "SELECT auth.has_role('two')::text FROM generate_series(1, 3) AS n,
        LATERAL (SELECT CASE WHEN n = 2 THEN set_config('pg_jwks.role_claim', 'roles', false) END OFFSET 0) AS changed (now)
        WHERE now IS NULL OR now <> ''";
    let rows = column(&mut client, query);
    assert_eq!(rows.iter().map(Option::as_deref).collect::<Vec<_>>(), [Some("false"), Some("true"), Some("true")]);
}

/// A call site is kept for rows, so their number must not fill the memory.
#[test]
fn arguments_of_a_million_rows_take_no_memory() {
    let mut client = superuser();
    try_init(&mut client, &named("alice")).expect("a good token");
    let used = "SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts";
    run(&mut client, "SELECT count(auth.claim(n::text)) FROM generate_series(1, 1000) AS n");
    let before: i64 = value(&mut client, used);
    let peak: i64 = value(
        &mut client,
        "SELECT max(used) FROM (SELECT auth.claim('c' || n) IS NULL, CASE WHEN n % 250000 = 0 THEN (
             SELECT sum(used_bytes) FROM pg_backend_memory_contexts)::bigint END AS used FROM generate_series(1, 1000000) AS n) AS t",
    );
    assert!(peak < before + 8 * 1024 * 1024, "{before} {peak}");
}
