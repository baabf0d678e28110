//! What the readers return.

use crate::server::*;
use postgres::Client;
use serde_json::{Value, json};

const UUID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

/// A session with these claims besides the usual ones.
fn with(claims: Value) -> Client {
    let mut client = session();
    try_init(&mut client, &token_with(claims)).expect("a good token");
    client
}

fn text(client: &mut Client, expression: &str) -> Option<String> {
    value(client, &format!("SELECT ({expression})::text"))
}

#[test]
fn without_identity_readers_are_null_and_has_is_false() {
    let mut client = session();
    for reader in [
        "auth.jwt()",
        "auth.session()",
        "auth.user_id()",
        "auth.uid()",
        "auth.role()",
        "auth.email()",
        "auth.claim('sub')",
        "auth.claim('a', 'b')",
        "auth.organization()",
        "auth.organization_id()",
        "auth.expires_at()",
        "auth.tenant_id()",
        "auth.tenant_ids()",
        "get_current_user_tenant_id()",
    ] {
        assert_eq!(text(&mut client, reader), None, "{reader}");
    }
    for question in ["has_scope('x')", "has_scope('')", "has_scope(NULL)", "has_role('x')", "has_role(NULL)"] {
        assert_eq!(text(&mut client, &format!("auth.{question}")).as_deref(), Some("false"), "{question}");
    }
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 0);
    assert_eq!(client.execute("UPDATE note SET body = 'x'", &[]).expect("an update"), 0);
    assert_eq!(refused(&mut client, "INSERT INTO note VALUES (7, 'alice', 'x')").sqlstate, "42501");
}

#[test]
fn the_usual_claims_have_readers_of_their_own() {
    let mut client = with(json!({ "sub": UUID, "role": "writer", "email": "a@b.example", "exp": 4102444800_i64 }));
    for (reader, expected) in [
        ("auth.user_id()", UUID),
        ("auth.uid()", UUID),
        ("auth.role()", "writer"),
        ("auth.email()", "a@b.example"),
        ("auth.expires_at() AT TIME ZONE 'UTC'", "2100-01-01 00:00:00"),
        ("auth.jwt() ->> 'iss'", ISSUER),
        ("auth.session() = auth.jwt()", "true"),
        ("pg_typeof(auth.uid())", "uuid"),
        ("pg_typeof(auth.jwt())", "jsonb"),
        ("pg_typeof(auth.expires_at())", "timestamp with time zone"),
    ] {
        assert_eq!(text(&mut client, reader).as_deref(), Some(expected), "{reader}");
    }
    let jwt: Value = value(&mut client, "SELECT auth.jwt()");
    assert_eq!(jwt.as_object().expect("an object").len(), 7, "{jwt}");
}

/// A mistake that others make: `auth.uid()` fails for a `sub` that is no UUID, and all policies with it.
#[test]
fn a_sub_that_is_no_uuid_is_no_error() {
    for sub in [
        "alice",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        " 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
        "42",
        "\u{e9}",
    ] {
        let mut client = with(json!({ "sub": sub }));
        assert_eq!(text(&mut client, "auth.uid()"), None, "{sub}");
        assert_eq!(text(&mut client, "auth.user_id()").as_deref(), Some(sub));
    }
}

#[test]
fn a_uuid_is_read_in_each_form_that_postgresql_reads() {
    for sub in [
        "6BA7B810-9DAD-11D1-80B4-00C04FD430C8",
        "6ba7b8109dad11d180b400c04fd430c8",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        "6ba7-b810-9dad-11d1-80b4-00c0-4fd4-30c8",
    ] {
        let mut client = with(json!({ "sub": sub, "o": { "id": sub } }));
        for reader in ["auth.uid()", "auth.organization_id()"] {
            assert_eq!(
                text(&mut client, reader).as_deref(),
                Some("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
                "{reader} {sub}"
            );
        }
        assert!(value::<bool>(&mut client, &format!("SELECT auth.uid() = '{sub}'")));
        assert_eq!(text(&mut client, "auth.user_id()").as_deref(), Some(sub));
    }
}

#[test]
fn a_token_without_sub_has_no_user() {
    let mut claims = pg_test::claims(ISSUER, "alice");
    claims.as_object_mut().expect("an object").remove("sub");
    let mut client = session();
    try_init(&mut client, &KEY.sign(&claims)).expect("a token without sub");
    for reader in ["auth.user_id()", "auth.uid()", "auth.claim('sub')"] {
        assert_eq!(text(&mut client, reader), None, "{reader}");
    }
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 0);
    assert_eq!(text(&mut client, "auth.jwt() ->> 'iss'").as_deref(), Some(ISSUER));
}

#[test]
fn scopes_are_whole_words() {
    for claims in [
        json!({ "scope": "read notes:write  openid" }),
        json!({ "scp": ["read", "notes:write", "openid", 7, null] }),
        json!({ "scp": "read notes:write openid" }),
        json!({ "scope": "read", "scp": ["notes:write", "openid"] }),
    ] {
        let mut client = with(claims.clone());
        for (scope, expected) in [
            ("read", true),
            ("notes:write", true),
            ("openid", true),
            ("rea", false),
            ("READ", false),
            ("notes", false),
            ("write", false),
            ("", false),
            (" ", false),
            ("read ", false),
            ("read notes:write", false),
            ("7", false),
            ("null", false),
            ("%", false),
        ] {
            let query = format!("SELECT auth.has_scope('{scope}')");
            assert_eq!(value::<bool>(&mut client, &query), expected, "{scope:?} in {claims}");
        }
        assert!(!value::<bool>(&mut client, "SELECT auth.has_scope(NULL)"));
    }
    for claims in [json!({}), json!({ "scope": null }), json!({ "scope": { "read": true } }), json!({ "scp": 7 })] {
        assert!(!value::<bool>(&mut with(claims.clone()), "SELECT auth.has_scope('read')"), "{claims}");
    }
}

#[test]
fn roles_are_whole_strings() {
    for claims in [json!({ "role": "admin" }), json!({ "role": ["writer", "admin", 7, null] })] {
        let mut client = with(claims.clone());
        for (role, expected) in [("admin", true), ("adm", false), ("Admin", false), ("", false), ("7", false)] {
            assert_eq!(value::<bool>(&mut client, &format!("SELECT auth.has_role('{role}')")), expected, "{role}");
        }
    }
    assert!(!value::<bool>(&mut with(json!({ "role": "admin writer" })), "SELECT auth.has_role('admin')"));
    assert!(!value::<bool>(&mut with(json!({ "roles": ["admin"] })), "SELECT auth.has_role('admin')"));
    let mut client = with(json!({ "role": ["writer", "admin"] }));
    assert_eq!(text(&mut client, "auth.role()").as_deref(), Some(r#"["writer", "admin"]"#));
}

#[test]
fn roles_are_where_the_setting_says() {
    let claims = json!({
        "role": "decoy", "realm_access": { "roles": ["admin"] }, "https://app.example/roles": ["admin"],
        "a.b": { "c": "admin" }
    });
    let mut client = superuser();
    for (path, expected) in [
        ("role", false),
        ("realm_access.roles", true),
        ("https://app.example/roles", true),
        (r#"["a.b", "c"]"#, true),
        ("a.b.c", false),
        ("realm_access", false),
        ("missing", false),
    ] {
        run(&mut client, &format!("SET pg_jwks.role_claim = '{path}'"));
        try_init(&mut client, &token_with(claims.clone())).expect("a good token");
        assert_eq!(value::<bool>(&mut client, "SELECT auth.has_role('admin')"), expected, "{path}");
    }
}

#[test]
fn claims_are_read_by_path() {
    let mut client = with(json!({
        "app_metadata": { "plan": "pro", "limits": [1, 2.5, { "deep": "yes" }], "none": null, "": "empty name" },
        "https://gprxy.io/org_id": "org-1",
        "dotted.name": "dot", "dotted": { "name": "nested" },
        "it's": "quote", "say \"hi\"": "double quotes", "back\\slash": "backslash", "{a,b}": "braces",
        "ünï": "non-ASCII", "number": 12345678901234567890_u64, "fraction": 0.10, "yes": true, "nothing": null,
        "empty": "", "text": "a\nb\t\"c\"", "1": "one"
    }));
    for (call, expected) in [
        ("auth.claim('app_metadata', 'plan')", Some("pro")),
        ("auth.claim(VARIADIC ARRAY['app_metadata', 'plan'])", Some("pro")),
        ("auth.claim(VARIADIC '{app_metadata,plan}')", Some("pro")),
        ("auth.claim('app_metadata', 'limits')", Some(r#"[1, 2.5, {"deep": "yes"}]"#)),
        ("auth.claim('app_metadata', 'limits', '2')", Some(r#"{"deep": "yes"}"#)),
        ("auth.claim('app_metadata', 'limits', '2', 'deep')", Some("yes")),
        ("auth.claim('app_metadata', 'limits', '-1', 'deep')", Some("yes")),
        ("auth.claim('app_metadata', 'limits', '3')", None),
        ("auth.claim('app_metadata', 'none')", None),
        ("auth.claim('app_metadata', '')", Some("empty name")),
        ("auth.claim('app_metadata', 'plan', 'x')", None),
        ("auth.claim('https://gprxy.io/org_id')", Some("org-1")),
        ("auth.claim('dotted.name')", Some("dot")),
        ("auth.claim('dotted', 'name')", Some("nested")),
        ("auth.claim('it''s')", Some("quote")),
        (r#"auth.claim('say "hi"')"#, Some("double quotes")),
        (r"auth.claim('back\slash')", Some("backslash")),
        ("auth.claim('{a,b}')", Some("braces")),
        ("auth.claim('ünï')", Some("non-ASCII")),
        ("auth.claim('number')", Some("12345678901234567890")),
        ("auth.claim('yes')", Some("true")),
        ("auth.claim('nothing')", None),
        ("auth.claim('missing')", None),
        ("auth.claim('empty')", Some("")),
        ("auth.claim('text')", Some("a\nb\t\"c\"")),
        ("auth.claim('1')", Some("one")),
        ("auth.claim('SUB')", None),
        ("auth.claim('sub', 'sub')", None),
        ("auth.claim(NULL)", None),
        ("auth.claim('app_metadata', NULL)", None),
        ("auth.claim(VARIADIC NULL::text[])", None),
        ("auth.claim(VARIADIC ARRAY[NULL]::text[])", None),
        ("auth.claim(VARIADIC '{}'::text[])::jsonb = auth.jwt()", Some("true")),
    ] {
        assert_eq!(text(&mut client, call).as_deref(), expected, "{call}");
    }
    assert_eq!(refused(&mut client, "SELECT auth.claim()").sqlstate, "42883");
}

/// A mistake that others make: claim names are interpolated into SQL.
#[test]
fn claim_names_are_data() {
    let names = [
        "'; DROP TABLE note; --",
        "' OR '1'='1",
        "sub') FROM pg_authid; --",
        "$$; SELECT pg_sleep(9); $$",
        "$.sub",
        "sub\"}",
        "{sub}",
        "sub,iss",
        "\\",
        "%s%s%n",
        "\u{1}",
    ];
    let claims: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).into(), json!("safe"))).collect();
    for (mut client, expected) in [(with(Value::Object(claims)), Some("safe")), (with(json!({})), None)] {
        for name in names {
            let row = client.query_one("SELECT auth.claim($1), auth.claim('sub')", &[&name]).expect("a reader");
            assert_eq!(row.get::<_, Option<&str>>(0), expected, "{name}");
            assert_eq!(row.get::<_, &str>(1), "alice");
            let row = client.query_one("SELECT auth.has_scope($1), auth.has_role($1)", &[&name]).expect("a reader");
            assert!(!row.get::<_, bool>(0) && !row.get::<_, bool>(1), "{name}");
        }
        assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 1);
    }
}

/// The value of a claim is data too, wherever a policy or a query uses it.
#[test]
fn claim_values_are_data() {
    for sub in ["'; DROP TABLE note; --", "alice' OR 'x'='x", "alice\"", "%", "\\", "null", "{\"sub\":\"alice\"}"] {
        let mut client = with(json!({ "sub": sub, "role": sub }));
        assert_eq!(text(&mut client, "auth.user_id()").as_deref(), Some(sub));
        assert_eq!(text(&mut client, "auth.role()").as_deref(), Some(sub));
        assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note"), 0, "{sub}");
        assert!(client.query_one("SELECT auth.has_role($1)", &[&sub]).expect("a reader").get::<_, bool>(0));
    }
}

#[test]
fn an_organization_is_an_object_and_its_id_a_uuid() {
    let mut client = with(json!({ "o": { "id": UUID, "rol": "admin" } }));
    assert_eq!(text(&mut client, "auth.organization()"), Some(format!(r#"{{"id": "{UUID}", "rol": "admin"}}"#)));
    assert_eq!(text(&mut client, "auth.organization_id()").as_deref(), Some(UUID));
    let mut client = with(json!({ "o": { "id": "org_2abc" } }));
    assert_eq!(text(&mut client, "auth.organization() ->> 'id'").as_deref(), Some("org_2abc"));
    assert_eq!(text(&mut client, "auth.organization_id()"), None);
    for claims in [json!({}), json!({ "o": null }), json!({ "o": "x" }), json!({ "o": [1] }), json!({ "o": 7 })] {
        let mut client = with(claims.clone());
        assert_eq!(text(&mut client, "auth.organization()"), None, "{claims}");
        assert_eq!(text(&mut client, "auth.organization_id()"), None, "{claims}");
    }
    for o in [json!({}), json!({ "id": null }), json!({ "id": 7 }), json!({ "id": { "id": UUID } })] {
        let mut client = with(json!({ "o": o }));
        assert_eq!(text(&mut client, "auth.organization_id()"), None);
        assert!(text(&mut client, "auth.organization()").is_some());
    }
}

#[test]
fn claims_of_other_types_are_text() {
    let mut client = with(json!({ "role": 7, "email": { "primary": "x" } }));
    assert_eq!(text(&mut client, "auth.role()").as_deref(), Some("7"));
    assert_eq!(text(&mut client, "auth.email()").as_deref(), Some(r#"{"primary": "x"}"#));
    let mut client = with(json!({ "role": null, "email": false }));
    assert_eq!(text(&mut client, "auth.role()"), None);
    assert_eq!(text(&mut client, "auth.email()").as_deref(), Some("false"));
}

/// Large claims are stored out of line by nobody: a value larger than a page still reads right.
#[test]
fn large_claims_are_read_whole() {
    let long = "x".repeat(9_000);
    let mut client = with(json!({ "sub": long, "list": (0..200).collect::<Vec<_>>() }));
    assert_eq!(text(&mut client, "auth.user_id()"), Some(long.clone()));
    assert_eq!(text(&mut client, "auth.claim('list', '199')").as_deref(), Some("199"));
    assert_eq!(value::<i64>(&mut client, "SELECT count(*) FROM note WHERE auth.user_id() = repeat('x', 9000)"), 0);
}

#[test]
fn readers_need_no_grants_and_have_the_right_labels() {
    let mut client = session();
    let wrong: i64 = value(
        &mut client,
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'auth'::regnamespace
            AND proname IN ('jwt', 'session', 'user_id', 'uid', 'role', 'email', 'claim', 'has_scope', 'has_role',
                            'organization', 'organization_id', 'expires_at', 'actor', 'tenant_id', 'tenant_ids')
            AND (provolatile, proparallel) IS DISTINCT FROM ('s'::\"char\", 's'::\"char\")",
    );
    assert_eq!(wrong, 0);
    let unusable: i64 = value(
        &mut client,
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'auth'::regnamespace
            AND proname NOT IN ('jwks', 'jwks_refresh', 'jwt_counters', 'jwt_session_list', 'revoke', 'jwt_hash',
                                'jwt_logout_verified', 'revocation_changed', 'assume_identity')
            AND NOT has_function_privilege('app', oid, 'EXECUTE')",
    );
    assert_eq!(unusable, 0);
}
