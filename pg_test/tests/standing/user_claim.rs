//! `pg_jwks.user_claim`: which claim names the user, for all that asks for the user.

use std::sync::Arc;

use crate::server::*;
use parking_lot::Mutex;
use pg_test::{PgError, jwks};
use postgres::Client;
use serde_json::{Value, json};

/// What users are called by their issuer, and for the application.
const SUB: &str = "pairwise-4711";
const OID: &str = "a11ce000-0000-4000-8000-000000000001";

fn token_of(changes: Value) -> String {
    token_with(&changes)
}

fn user(client: &mut Client) -> Option<String> {
    value(client, "SELECT auth.user_id()")
}

/// A database with its own settings.
fn database(name: &'static str, settings: &[(&str, &str)]) -> Database {
    let database = Database::new(name);
    for (setting, value) in settings {
        run(
            &mut database.superuser(),
            &format!("LOAD 'pg_jwks'; ALTER DATABASE {name} SET pg_jwks.{setting} = '{value}'"),
        );
    }
    database
}

#[test]
fn readers_and_policies_follow_it() {
    let database = database("user_readers", &[("user_claim", "oid")]);
    let mut session = with_identity(database.app(), &token_of(json!({ "sub": SUB, "oid": "alice" })));
    assert_eq!((user(&mut session).as_deref(), notes(&mut session)), (Some("alice"), vec![1, 3]));
    assert_eq!(value::<String>(&mut session, "SELECT auth.claim('sub')"), SUB);
    assert_eq!(value::<Option<String>>(&mut session, "SELECT auth.uid()::text"), None);
    let mut session = with_identity(database.app(), &token_of(json!({ "sub": SUB, "oid": OID })));
    assert_eq!(value::<Option<String>>(&mut session, "SELECT auth.uid()::text").as_deref(), Some(OID));
    // Of alice, as her issuer calls her, it is no user.
    let mut session = with_identity(database.app(), &token("alice"));
    assert_eq!((user(&mut session), notes(&mut session)), (None, vec![]));
}

#[test]
fn a_whole_number_is_a_user_and_other_values_are_malformed() {
    let database = database("user_values", &[("user_claim", "ids.user")]);
    for (id, expected) in [(json!(42), "42"), (json!("42"), "42"), (json!(u64::MAX), "18446744073709551615")] {
        let mut session = with_identity(database.app(), &token_of(json!({ "ids": { "user": id } })));
        assert_eq!(user(&mut session).as_deref(), Some(expected), "{id}");
    }
    for id in [json!(""), json!(null), json!(4.5), json!(true), json!(["alice"]), json!({ "id": "alice" })] {
        let mut session = database.app();
        let error = init(&mut session, &token_of(json!({ "ids": { "user": id } }))).expect_err("no user");
        assert_eq!(
            (error.sqlstate.as_str(), error.message.as_str()),
            ("22023", "JWT rejected: malformed claim"),
            "{id}"
        );
        let detail = error.detail.expect("a DETAIL");
        assert!(detail.starts_with("The claim that names the user is neither") && !detail.contains("ids"), "{detail}");
        assert_eq!(notes(&mut session), [0; 0]);
    }
}

/// In each form in which a call site keeps what it found.
#[test]
fn a_changed_claim_changes_the_user_of_open_sessions() {
    let database = Database::new("user_changed");
    let mut session = with_identity(database.superuser(), &token_of(json!({ "oid": "bob" })));
    run(
        &mut session,
        "PREPARE generic AS SELECT string_agg(owner, ',') FROM note WHERE owner = auth.user_id();
         SET plan_cache_mode = force_generic_plan;
         CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN auth.user_id(); END'",
    );
    let seen = |session: &mut Client| -> Vec<Option<String>> {
        let mut seen: Vec<_> = ["auth.user_id()", "who()", "(SELECT auth.user_id())"]
            .iter()
            .map(|reader| value(session, &format!("SELECT {reader}")))
            .collect();
        let rows = session.simple_query("EXECUTE generic").expect("EXECUTE");
        let owners = rows.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => {
                row.get(0).map(|owners| owners.split(',').next().map(str::to_owned))
            }
            _ => None,
        });
        seen.push(owners.flatten());
        seen
    };
    for (claim, expected) in [("sub", Some("alice")), ("oid", Some("bob")), ("none", None), ("sub", Some("alice"))] {
        run(&mut session, &format!("SET pg_jwks.user_claim = '{claim}'"));
        assert!(seen(&mut session).iter().all(|user| user.as_deref() == expected), "{claim}: {:?}", seen(&mut session));
    }
    // Within one statement, the rows after the change have the new one.
    let rows: Vec<Option<String>> = value(
        &mut session,
        "SELECT array_agg(auth.user_id() || CASE n WHEN 2 THEN set_config('pg_jwks.user_claim', 'oid', false) ELSE '' END)
           FROM generate_series(1, 3) n",
    );
    assert_eq!(rows, [Some("alice".into()), Some("aliceoid".into()), Some("bob".into())]);
}

#[test]
fn each_provider_has_its_own() {
    let providers = json!([{ "issuer": "https://entra.test", "jwks": jwks(&[&KEY]), "user_claim": "oid" }]).to_string();
    let database = database("user_providers", &[("providers", &providers)]);
    let mut session = database.app();
    let claims = |iss: &str| token_of(json!({ "iss": iss, "oid": "bob" }));
    init(&mut session, &claims("https://entra.test")).expect("a good token");
    assert_eq!(notes(&mut session), [2]);
    init(&mut session, &claims(ISSUER)).expect("a good token");
    assert_eq!(notes(&mut session), [1, 3]);
}

#[test]
fn what_postgrest_left_is_read_by_it() {
    let database = database("user_requests", &[("user_claim", "oid"), ("trust_request_claims", "on")]);
    let mut session = database.app();
    for (claims, expected) in [
        (r#"{"sub":"bob","oid":"alice"}"#, Some("alice")),
        (r#"{"sub":"alice"}"#, None),
        (r#"{"oid":["alice"]}"#, None),
        (r#"{"oid":7}"#, Some("7")),
    ] {
        session.execute("SELECT set_config('request.jwt.claims', $1, false)", &[&claims]).expect("SET");
        assert_eq!(user(&mut session).as_deref(), expected, "{claims}");
    }
}

#[test]
fn revoking_a_user_follows_it() {
    let database = database("user_revoked", &[("user_claim", "oid")]);
    let own = token_of(json!({ "sub": SUB, "oid": "alice" }));
    let mut session = with_identity(database.app(), &own);
    let mut admin = database.superuser();
    run(&mut admin, &format!("SELECT auth.revoke(subject => '{SUB}')"));
    assert_eq!(notes(&mut session), [1, 3]);
    init(&mut database.app(), &own).expect("not meant");
    run(&mut admin, "SELECT auth.revoke(subject => 'alice')");
    loses(&mut session, "token revoked");
    assert_eq!(init(&mut database.app(), &own).expect_err("revoked").message, "JWT rejected: token revoked");
    let explained: Vec<String> = {
        let query = "SELECT \"check\" FROM auth.jwt_explain($1) WHERE NOT ok";
        admin.query(query, &[&own]).expect("jwt_explain").iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(explained, ["revocation"]);
}

#[test]
fn the_choice_of_a_tenant_is_of_that_user() {
    let database = database("user_choice", &[("user_claim", "oid"), ("tenant_claim", "t")]);
    let of = |oid: &str| token_of(json!({ "sub": SUB, "oid": oid, "t": ["red", "blue"] }));
    let mut session = with_identity(database.app(), &of("alice"));
    run(&mut session, "SELECT auth.set_tenant('blue')");
    init(&mut session, &of("alice")).expect("another token of the same user");
    assert_eq!(value::<String>(&mut session, "SELECT auth.tenant_id()"), "blue");
    init(&mut session, &of("bob")).expect("another user");
    assert_eq!(refused(&mut session, "SELECT auth.tenant_id()").message, "no tenant chosen");
    init(&mut session, &token("alice")).expect("a token without the claim");
    let error = refused(&mut session, "SELECT auth.set_tenant('blue')");
    assert_eq!(error.sqlstate, "42501");
    assert!(error.detail.as_deref().is_some_and(|detail| detail.contains("names no user")), "{error:?}");
}

#[test]
fn memberships_are_those_of_that_user() {
    let database = database("user_members", &[("user_claim", "oid")]);
    run(
        &mut database.superuser(),
        "CREATE TABLE users (id text, tenant_id text); INSERT INTO users VALUES ('alice', 'red'), ('bob', 'blue')",
    );
    let mut session = with_identity(database.app(), &token_of(json!({ "sub": "bob", "oid": "alice" })));
    assert_eq!(value::<Option<String>>(&mut session, "SELECT auth.tenant_id()").as_deref(), Some("red"));
    init(&mut session, &token("bob")).expect("a token without the claim");
    assert_eq!(value::<Option<String>>(&mut session, "SELECT auth.tenant_id()"), None);
}

/// What a session is told.
fn told(database: &Database) -> (Client, Arc<Mutex<Vec<PgError>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let session = database.app_that_hears(move |notice| heard.lock().push(notice));
    (session, told)
}

#[test]
fn a_token_that_names_nobody_is_accepted_with_a_warning() {
    for (name, settings) in [("user_missing", &[][..]), ("oid_missing", &[("user_claim", "oid")])] {
        let database = database(name, settings);
        let (mut session, told) = told(&database);
        let mut claims = pg_test::claims_with(ISSUER, "", &json!({ "email": "a@b.example" }));
        claims.as_object_mut().expect("an object").remove("sub");
        let nobody = KEY.sign(&claims);
        init(&mut session, &nobody).expect("a token without a user");
        assert_eq!((user(&mut session), notes(&mut session)), (None, vec![]));
        assert_eq!(value::<String>(&mut session, "SELECT auth.email()"), "a@b.example");
        let warnings: Vec<_> = std::mem::take(&mut *told.lock());
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert_eq!((warning.sqlstate.as_str(), warning.message.as_str()), ("01000", "JWT names no user"));
        assert!(warning.detail.as_deref().is_some_and(|detail| detail.contains("auth.user_id() is NULL")));
        // A pool that shows the token at each checkout is not told each time.
        init(&mut session, &nobody).expect("a remembered token");
        assert_eq!(told.lock().len(), 0);
        let query = "SELECT detail FROM auth.jwt_explain($1) WHERE \"check\" = 'claims' AND ok";
        let detail: String = session.query_one(query, &[&nobody]).expect("jwt_explain").get(0);
        assert!(detail.contains("auth.user_id() is NULL"), "{detail}");
    }
}

#[test]
fn a_token_that_names_somebody_causes_no_warning() {
    let (mut session, told) = told(&Database::new("user_named"));
    init(&mut session, &token("alice")).expect("a good token");
    assert_eq!(told.lock().len(), 0);
}
