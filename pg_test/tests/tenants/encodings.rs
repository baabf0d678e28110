//! Users and tenants beyond ASCII, in databases of several encodings.

use crate::server::*;
use serde_json::json;

const ACCENTS: &str = "CREATE TABLE users (id text PRIMARY KEY, tenant_id text);
    INSERT INTO users VALUES ('é', 'équipe'), ('e', 'decoy'), ('ü', 'ä'), ('ü', 'ö') ON CONFLICT DO NOTHING";

#[test]
fn users_and_tenants_compare_in_the_databases_encoding() {
    for (name, encoding) in [("encoded_utf8", "UTF8"), ("encoded_latin1", "LATIN1"), ("encoded_latin9", "LATIN9")] {
        let database = Database::encoded(name, encoding, ACCENTS);
        let mut client = database.app();
        for (sub, own) in [("é", Some("équipe")), ("è", None), ("Ã©", None), ("e", Some("decoy"))] {
            init(&mut client, sub);
            assert_eq!(tenant(&mut client).as_deref(), own, "{encoding}: {sub}");
        }
        init(&mut client, "é");
        run(&mut client, "SELECT auth.set_tenant('équipe')");
        assert_eq!(tenant(&mut client).as_deref(), Some("équipe"), "{encoding}");
        assert_eq!(refused(&mut client, "SELECT auth.set_tenant('equipe')").sqlstate, "42501");
    }
}

#[test]
fn claimed_tenants_are_in_the_databases_encoding() {
    let database = Database::encoded("encoded_claims", "LATIN1", "").set("tenant_claim", "t");
    let mut client = database.app();
    init_with(&mut client, json!({ "t": ["é", "e", "Ã©"] }));
    assert_eq!(tenants(&mut client), Some(vec!["é".into(), "e".into(), "Ã©".into()]));
    for own in ["é", "Ã©"] {
        run(&mut client, &format!("SELECT auth.set_tenant('{own}')"));
        assert_eq!(tenant(&mut client).as_deref(), Some(own));
        assert_eq!(value::<i32>(&mut client, "SELECT octet_length(auth.tenant_id())"), own.chars().count() as i32);
    }
}

#[test]
fn sql_ascii_has_ascii_users() {
    let database = Database::encoded("encoded_ascii", "SQL_ASCII", ACCENTS);
    let mut client = database.app();
    init(&mut client, "e");
    assert_eq!(tenant(&mut client).as_deref(), Some("decoy"));
    let error = client.execute("SELECT auth.jwt_session_init($1)", &[&token_with(json!({ "sub": "é" }))]);
    assert_eq!(pg_test::pg_error(&error.expect_err("not ASCII")).sqlstate, "22P05");
    assert_eq!(tenant(&mut client), None);
    // A tenant is what the table has, byte by byte.
    let mut superuser = database.superuser();
    run(&mut superuser, r"INSERT INTO users VALUES ('x', E'\xe9')");
    init(&mut superuser, "x");
    assert_eq!(value::<Vec<u8>>(&mut superuser, "SELECT auth.tenant_id()::bytea"), [0xe9]);
}
