//! `rls_examples/from_pg_session_jwt`.

use std::sync::LazyLock;

use pg_test::Alg;
use postgres::Client;
use serde_json::{Value, json};

use crate::checks::{Guarded, assert_ends};
use crate::migration::*;

const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const BOB: &str = "b0b00000-0000-4000-8000-000000000002";
const NOTES: &str = "SELECT body FROM notes ORDER BY id";
const BOARDS: &str = "SELECT name FROM boards";
const PLANS: &str = "SELECT plan FROM accounts";

/// Moved by a dump whose line `CREATE EXTENSION` names pg_jwks.
static EXAMPLE: LazyLock<Example> = LazyLock::new(moved);

fn moved() -> Example {
    let example = Example::start("from_pg_session_jwt", Alg::EdDsa).with_jwks();
    example.superuser().batch_execute("CREATE EXTENSION pg_jwks").expect("the extension");
    example.run("schema.sql");
    example.run("policies.sql");
    example
}

const ACME: &str = "ac000000-0000-4000-8000-000000000000";
const GLOBEX: &str = "91000000-0000-4000-8000-000000000000";

fn claims(sub: &str, organization: &str) -> Value {
    json!({ "sub": sub, "email_verified": true, "o": { "id": organization, "slug": "x", "role": "member" } })
}

fn alice() -> Value {
    claims(ALICE, ACME)
}

#[track_caller]
fn assert_sees(client: &mut Client, notes: &[&str], boards: &[&str], plans: &[&str]) {
    assert_eq!([NOTES, BOARDS, PLANS].map(|query| visible(client, query)), [notes, boards, plans]);
}

/// As an application of pg_session_jwt does it.
fn session(claims: Value) -> Client {
    let mut client = EXAMPLE.session("authenticated");
    client.batch_execute("SELECT auth.init()").expect("auth.init");
    client.execute("SELECT auth.jwt_session_init($1)", &[&EXAMPLE.token(claims)]).expect("a good token");
    client
}

#[test]
fn users_see_their_own() {
    let mut client = session(alice());
    assert_sees(&mut client, &["sow"], &["Anvils"], &["paid"]);
    let same = "SELECT auth.session() = auth.jwt() AND auth.user_id() = auth.uid()::text";
    assert!(value::<bool>(&mut client, same));
    assert_sees(&mut session(claims(BOB, GLOBEX)), &["reap"], &["Lamps"], &["free"]);
    assert_sees(&mut session(claims("not a uuid", "nor this")), &[], &[], &[]);
    assert_sees(&mut EXAMPLE.session("authenticated"), &[], &[], &[]);
}

#[test]
fn no_way_of_reading_shows_another_user() {
    let bob = claims(BOB, GLOBEX);
    assert_every_way(&mut session(alice()), "notes", "body", &["sow"]);
    assert_every_way(&mut session(bob.clone()), "boards", "name", &["Lamps"]);
    EXAMPLE.assert_a_connection_can_be_shared("authenticated", NOTES, [(alice(), &["sow"]), (bob, &["reap"])]);
}

#[test]
fn writes_stay_ones_own() {
    let mut client = session(alice());
    client.batch_execute("BEGIN").expect("a transaction");
    assert_eq!(value::<String>(&mut client, "INSERT INTO notes (body) VALUES ('mow') RETURNING user_id"), ALICE);
    assert_eq!(
        value::<String>(&mut client, "INSERT INTO boards (name) VALUES ('x') RETURNING organization_id::text"),
        ACME
    );
    client.batch_execute("ROLLBACK").expect("a transaction");
    for statement in [
        format!("INSERT INTO notes (user_id, body) VALUES ('{BOB}', 'x')"),
        format!("UPDATE notes SET user_id = '{BOB}'"),
        format!("UPDATE boards SET organization_id = '{GLOBEX}'"),
        format!("INSERT INTO accounts VALUES ('{BOB}', 'x')"),
    ] {
        assert!(matches!(refused(&mut client, &statement).as_str(), "42501"), "{statement}");
    }
    assert_eq!(changed(&mut client, &format!("DELETE FROM notes WHERE user_id = '{BOB}'")), 0);
    assert_eq!(changed(&mut client, "DELETE FROM boards"), 0, "a member is no admin");
    let mut unverified = alice();
    unverified["email_verified"] = json!(false);
    assert_sees(&mut session(unverified), &[], &["Anvils"], &["paid"]);
    let mut nobody = EXAMPLE.session("authenticated");
    assert_eq!(changed(&mut nobody, "DELETE FROM notes"), 0);
    assert_eq!(refused(&mut nobody, "INSERT INTO notes (user_id, body) VALUES ('x', 'x')"), "42501");
}

#[test]
fn the_policies_hold_alone() {
    let example = moved();
    Guarded {
        connect: &|role| example.session(role),
        login: "authenticated",
        role: "authenticated",
        token: example.token(alice()),
        homeless: example.token(json!({ "email_verified": true })),
        table: "notes",
        home: "user_id",
        item: "body",
        own: &["sow"],
        other: "reap",
    }
    .assert_policies_hold();
}

#[test]
fn an_identity_ends_with_its_token() {
    let (mut client, end) = EXAMPLE.ending_session("authenticated", alice());
    let statements = [
        NOTES,
        BOARDS,
        PLANS,
        "INSERT INTO notes (body) VALUES ('mow')",
        "UPDATE boards SET name = 'x'",
        "DELETE FROM notes",
        "SELECT auth.session()",
        "SELECT auth.user_id()",
        "SELECT auth.organization()",
    ];
    assert_ends(&mut client, end, &statements);
}

#[test]
fn nothing_is_unsafe_by_lint() {
    assert_safe_by_lint(&EXAMPLE);
}

#[test]
fn bad_tokens_are_refused() {
    EXAMPLE.assert_bad_tokens_refused("authenticated", &alice(), NOTES);
}

#[test]
fn connections_bring_neither_keys_nor_tokens() {
    let mut client = EXAMPLE.session("authenticated");
    let token = EXAMPLE.token(alice());
    client.batch_execute(&format!("SET pg_session_jwt.jwt = '{token}'")).expect("a variable that nobody reads");
    assert_sees(&mut client, &[], &[], &[]);
    for setting in ["pg_jwks.jwks", "pg_jwks.jwks_uri", "pg_jwks.issuer", "pg_jwks.session"] {
        assert_eq!(refused(&mut client, &format!("SET {setting} = 'x'")), "42501", "{setting}");
    }
}

/// The functions that a database had before, made by hand; the extension itself is not at hand here.
const FORMER: &str = "CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC;
    CREATE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT NULL::jsonb $$;
    CREATE FUNCTION auth.organization() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT NULL::jsonb $$;
    CREATE FUNCTION auth.organization_id() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT NULL::uuid $$;
    CREATE FUNCTION auth.user_id() RETURNS text LANGUAGE sql STABLE AS $$ SELECT NULL $$;
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT NULL::uuid $$;";

#[test]
fn a_database_moves_in_place() {
    let example = Example::start("from_pg_session_jwt", Alg::EdDsa).with_jwks();
    let mut superuser = example.superuser();
    superuser.batch_execute(FORMER).expect("the former functions");
    example.run("schema.sql");
    example.run("policies.sql");
    let policies = "SELECT p::text FROM pg_policies p ORDER BY 1";
    let before = visible(&mut superuser, policies);
    assert_eq!(before.len(), 9);

    let functions = "auth.session(), auth.organization(), auth.organization_id(), auth.user_id(), auth.uid()";
    let drop = format!("--set=drop=DROP FUNCTION {functions} CASCADE");
    example.try_run(&[&drop], "../from_supabase/replace_functions.sql").expect("the script");
    assert_eq!(visible(&mut superuser, policies), before);
    let mut client = example.session_with("authenticated", alice());
    assert_sees(&mut client, &["sow"], &["Anvils"], &["paid"]);
    client.batch_execute("BEGIN").expect("a transaction");
    assert_eq!(value::<String>(&mut client, "INSERT INTO notes (body) VALUES ('mow') RETURNING user_id"), ALICE);
}
