//! Databases of other encodings than UTF-8.

use std::sync::LazyLock;

use crate::server::*;
use pg_test::{PgError, pg_error};
use postgres::Client;
use serde_json::json;

/// A database of this encoding with the extension, and rows of é and € where the encoding has them.
fn created(name: &'static str, encoding: &str) -> &'static str {
    server().create_database(name, encoding);
    run(
        &mut server().connect("postgres", name),
        "CREATE EXTENSION pg_jwks;
         CREATE TABLE note (id int, owner text, body text);
         INSERT INTO note VALUES (1, 'alice', 'a'), (2, 'bob', 'b');
         ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON note USING (owner = auth.user_id());
         GRANT ALL ON note TO PUBLIC",
    );
    name
}

static LATIN1: LazyLock<&str> = LazyLock::new(|| created("latin1", "LATIN1"));
static SQL_ASCII: LazyLock<&str> = LazyLock::new(|| created("sql_ascii", "SQL_ASCII"));

fn latin1() -> Client {
    server().connect("app", &LATIN1)
}

fn sql_ascii() -> Client {
    server().connect("app", &SQL_ASCII)
}

fn assert_not_representable(error: &PgError, claim: &str) {
    assert_eq!(
        (error.sqlstate.as_str(), error.message.as_str()),
        ("22P05", "JWT rejected: claim not representable"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains(claim), "{error:?}");
}

#[test]
fn claims_read_right_in_latin1() {
    let mut client = latin1();
    run(&mut server().connect("postgres", &LATIN1), "INSERT INTO note VALUES (3, 'é', 'c')");
    for _ in 0..2 {
        // The second time it is a remembered token.
        try_init(
            &mut client,
            &token_with(json!({
                "sub": "é", "role": ["zoë", "naïve"], "email": "ü@b.example", "scope": "lire écrire",
                "ñ": { "å": "ß" }, "o": { "name": "ø" }
            })),
        )
        .expect("claims that LATIN1 has");
        for (expression, expected) in [
            ("auth.user_id()", "é"),
            ("auth.jwt() ->> 'sub'", "é"),
            ("auth.claim('sub')", "é"),
            ("auth.claim('ñ', 'å')", "ß"),
            ("auth.email()", "ü@b.example"),
            ("auth.organization() ->> 'name'", "ø"),
            ("current_setting('pg_jwks.session')::jsonb ->> 'sub'", "é"),
            ("octet_length(auth.user_id())", "1"),
            ("auth.uid() IS NULL", "true"),
            ("(SELECT string_agg(owner, ',') FROM note)", "é"),
        ] {
            let read: String = value(&mut client, &format!("SELECT ({expression})::text"));
            assert_eq!(read, expected, "{expression}");
        }
    }
}

#[test]
fn roles_and_scopes_compare_right_in_latin1() {
    let mut client = latin1();
    for question in ["has_role('é')", "has_scope('é')", "has_role('x')"] {
        assert!(!value::<bool>(&mut client, &format!("SELECT auth.{question}")), "{question}");
    }
    try_init(&mut client, &token_with(json!({ "role": ["é", "writer"], "scope": "lire écrire" }))).expect("LATIN1");
    for (question, expected) in [
        ("has_role('é')", true),
        ("has_role('è')", false),
        ("has_role('Ã©')", false),
        ("has_role('e')", false),
        ("has_role('writer')", true),
        ("has_scope('écrire')", true),
        ("has_scope('ecrire')", false),
        ("has_scope('Ã©crire')", false),
        ("has_scope('lire')", true),
    ] {
        assert_eq!(value::<bool>(&mut client, &format!("SELECT auth.{question}")), expected, "{question}");
    }
}

#[test]
fn parallel_workers_have_claims_in_latin1() {
    let mut client = latin1();
    run(
        &mut server().connect("postgres", &LATIN1),
        "CREATE TABLE big AS SELECT n AS id, ('{é,è}'::text[])[n % 2 + 1] AS owner FROM generate_series(1, 20000) n;
         GRANT SELECT ON big TO PUBLIC; ANALYZE big;
         ALTER TABLE big ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON big USING (owner = auth.user_id() AND auth.has_role('ô'))",
    );
    run(&mut client, PARALLEL);
    try_init(&mut client, &token_with(json!({ "sub": "é", "role": "ô" }))).expect("LATIN1");
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
}

#[test]
fn claims_beyond_latin1_are_refused_and_fail_closed() {
    let mark = server().log_mark();
    for claims in [
        json!({ "sub": "secret€" }),
        json!({ "sub": "bob", "secret€": 1 }),
        json!({ "sub": "bob", "list": [{ "deep": "secret日本" }] }),
        json!({ "sub": "secret😀" }),
        json!({ "sub": "secret\u{0}" }),
    ] {
        let mut client = latin1();
        let token = token_with(claims);
        for _ in 0..2 {
            init(&mut client, "alice");
            assert_not_representable(&try_init(&mut client, &token).expect_err("not in LATIN1"), "secret");
            assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
        }
        init(&mut client, "alice");
        run(&mut client, "BEGIN");
        assert_not_representable(
            &pg_error(&client.batch_execute(&local_init_statement(&token)).expect_err("local")),
            "secret",
        );
        run(&mut client, "ROLLBACK");
        assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
        assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 0);
    }
    let log = server().log_since(mark);
    assert!(log.contains("claim not representable") && !log.contains("secret"), "{log}");
}

#[test]
fn a_euro_is_a_euro_where_the_encoding_has_one() {
    let name = created("latin9", "LATIN9");
    let mut client = server().connect("app", name);
    try_init(&mut client, &token_with(json!({ "sub": "€", "role": "€uro" }))).expect("LATIN9");
    assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "€");
    assert!(value::<bool>(&mut client, "SELECT auth.has_role('€uro')"));
}

#[test]
fn claims_read_right_in_a_multibyte_encoding() {
    let name = created("euc_jp", "EUC_JP");
    let mut client = server().connect("app", name);
    try_init(&mut client, &token_with(json!({ "sub": "日本語", "role": ["管理者"], "scope": "読む 書く" })))
        .expect("EUC_JP");
    assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "日本語");
    assert_eq!(value::<i32>(&mut client, "SELECT octet_length(auth.claim('sub'))"), 6);
    assert!(value::<bool>(&mut client, "SELECT auth.has_role('管理者') AND auth.has_scope('書く')"));
    assert!(!value::<bool>(&mut client, "SELECT auth.has_role('管理') OR auth.has_scope('書')"));
    assert_not_representable(&try_init(&mut client, &token_with(json!({ "sub": "é😀" }))).expect_err("EUC_JP"), "é");
    assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
}

#[test]
fn claims_that_are_no_ascii_are_refused_in_sql_ascii() {
    let mut client = sql_ascii();
    init(&mut client, "alice");
    assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "alice");
    assert_eq!(value::<String>(&mut client, "SELECT string_agg(owner, ',') FROM note"), "alice");
    for claims in [json!({ "sub": "secreté" }), json!({ "secret€": 1 }), json!({ "x": "secret\u{0}" })] {
        init(&mut client, "alice");
        assert_not_representable(&try_init(&mut client, &token_with(claims)).expect_err("not ASCII"), "secret");
        assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
    }
}

#[test]
fn roles_that_are_no_ascii_are_false_in_sql_ascii() {
    let mut client = sql_ascii();
    for before in [None, Some("alice")] {
        if let Some(sub) = before {
            try_init(&mut client, &token_with(json!({ "sub": sub, "role": "e", "scope": "e" }))).expect("ASCII");
        }
        for question in ["has_role('é')", "has_scope('é')", r"has_role(E'\xe9')", r"has_scope(E'\xff\xfe')"] {
            assert!(!value::<bool>(&mut client, &format!("SELECT auth.{question}")), "{question}");
        }
        assert_eq!(value::<bool>(&mut client, "SELECT auth.has_role('e')"), before.is_some());
    }
}

#[test]
fn claims_beyond_ascii_read_right_in_utf8() {
    let mut client = session();
    let sub = "é € 日本 😀 \u{10ffff} \u{7f} \u{1}";
    try_init(&mut client, &token_with(json!({ "sub": sub, "role": "😀", "scope": "é" }))).expect("UTF8");
    assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), sub);
    assert!(value::<bool>(&mut client, "SELECT auth.has_role('😀') AND auth.has_scope('é')"));
    assert_eq!(value::<String>(&mut client, "SELECT auth.jwt() ->> 'sub'"), sub);
    let shown: String = value(&mut client, "SHOW pg_jwks.session");
    assert!(shown.is_ascii(), "{shown}");
}

#[test]
fn a_nul_in_a_claim_is_refused() {
    let mut client = session();
    for claims in
        [json!({ "sub": "secret\u{0}" }), json!({ "secret\u{0}": 1 }), json!({ "x": [{ "y": "secret\u{0}" }] })]
    {
        init(&mut client, "alice");
        assert_not_representable(&try_init(&mut client, &token_with(claims)).expect_err("a NUL"), "secret");
        assert_eq!(identity(&mut client), None);
    }
}

#[test]
fn settings_that_are_not_utf_8_are_refused() {
    let mut client = server().connect("postgres", &LATIN1);
    run(&mut client, "SELECT auth.init()");
    for name in ["issuer", "audience", "role_claim", "role_map", "tenant_lookup", "ca_file", "audit_claims"] {
        let error = refused(&mut client, &format!("SET pg_jwks.{name} = 'é'"));
        assert_eq!(error.sqlstate, "22023", "{name}: {error:?}");
        assert_eq!(error.detail.as_deref(), Some("The value is not UTF-8."), "{name}");
        assert!(error.hint.is_some(), "{name}: {error:?}");
    }
}
