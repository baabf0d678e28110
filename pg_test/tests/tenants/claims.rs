//! Tenants in the token.

use crate::server::*;
use serde_json::{Value, json};

#[test]
fn the_claim_wins_over_the_lookup() {
    let database = Database::new("claim_wins", USUAL).set("tenant_claim", "org.id");
    let mut client = database.app();
    init_with(&mut client, json!({ "org": { "id": BLUE } }));
    assert_eq!((tenant(&mut client).as_deref(), notes(&mut client)), (Some(BLUE), vec![2, 4]));
    run(&mut client, "INSERT INTO note (id) VALUES (6)");
    assert_eq!(refused(&mut client, &format!("INSERT INTO note VALUES (7, '{RED}')")).sqlstate, "42501");
    assert_eq!(notes(&mut client), [2, 4, 6]);
    // A token without the claim is a user without tenant, and not one whom the table knows.
    init_with(&mut client, json!({ "org": "none" }));
    assert_eq!((tenant(&mut client), tenants(&mut client), notes(&mut client)), (None, Some(vec![]), vec![]));
}

#[test]
fn strings_and_whole_numbers_are_tenants() {
    let database = Database::new("claim_kinds", "").set("tenant_claim", "t");
    let mut client = database.app();
    assert_eq!(tenants(&mut client), None);
    for (claim, expected) in [
        (json!("red"), &["red"][..]),
        (json!("ré 'd\""), &["ré 'd\""]),
        (json!(42), &["42"]),
        (json!(-1), &["-1"]),
        (json!(u64::MAX), &["18446744073709551615"]),
        (json!(["b", "a", 7, "b", "7"]), &["b", "a", "7"]),
        (json!(["a", null, "", {}, [], true, 1.5]), &["a"]),
        (json!(""), &[]),
        (json!([]), &[]),
        (json!([[]]), &[]),
        (json!([""]), &[]),
        (json!(null), &[]),
        (json!(true), &[]),
        (json!(1.0), &[]),
        (json!({ "id": "a" }), &[]),
    ] {
        init_with(&mut client, json!({ "t": claim }));
        assert_eq!(tenants(&mut client), Some(expected.iter().map(|tenant| (*tenant).into()).collect()), "{claim}");
    }
    init_with(&mut client, json!({}));
    assert_eq!(tenants(&mut client), Some(vec![]));
}

#[test]
fn one_of_several_claimed_tenants_is_chosen() {
    let database = Database::new("claim_array", USUAL).set("tenant_claim", "t");
    let mut client = database.app();
    init_with(&mut client, json!({ "t": [RED, BLUE, 7] }));
    assert_eq!(all_fail(&mut client, "55000").message, "no tenant chosen");
    for other in [CAROL, "red", "8", " 7"] {
        assert_eq!(refused(&mut client, &format!("SELECT auth.set_tenant('{other}')")).sqlstate, "42501", "{other}");
    }
    run(&mut client, "SELECT auth.set_tenant('7')");
    assert_eq!(tenant(&mut client).as_deref(), Some("7"));
    assert_eq!(refused(&mut client, "SELECT id FROM note").sqlstate, "22P02");
    run(&mut client, &format!("SELECT auth.set_tenant('{BLUE}')"));
    assert_eq!(notes(&mut client), [2, 4]);
    // The next token of the same user has other tenants.
    init_with(&mut client, json!({ "t": [RED, BLUE] }));
    assert_eq!(notes(&mut client), [2, 4]);
    init_with(&mut client, json!({ "t": [RED] }));
    assert_eq!(all_fail(&mut client, "42501").message, "user is no longer a member of the chosen tenant");
    run(&mut client, "SELECT auth.set_tenant(NULL)");
    assert_eq!(notes(&mut client), [1, 3]);
}

#[test]
fn each_issuer_has_its_own_claim() {
    let jwks: String = value(&mut SERVER.client(), "SELECT current_setting('pg_jwks.jwks')");
    let jwks: Value = serde_json::from_str(&jwks).expect("a JWKS");
    let providers = json!([
        { "issuer": ISSUER, "tenant_claim": "org.id", "jwks": jwks },
        { "issuer": OTHER_ISSUER, "tenant_claim": ["https://x.test/tenant"], "jwks": jwks }
    ]);
    let database = Database::new("claim_issuers", USUAL).set("providers", &providers.to_string());
    let mut client = database.app();
    for (issuer, ids) in [(ISSUER, [1, 3]), (OTHER_ISSUER, [2, 4])] {
        init_with(
            &mut client,
            json!({ "iss": issuer, "org": { "id": RED }, "https://x.test/tenant": BLUE, "sub": BOB }),
        );
        assert_eq!(notes(&mut client), ids, "{issuer}");
    }
}

#[test]
fn an_issuer_that_is_not_configured_any_more_is_an_error() {
    let mut client = Database::new("claim_no_issuer", USUAL).superuser();
    init(&mut client, ALICE);
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
    run(&mut client, "SET pg_jwks.issuer = 'https://another.test'");
    for read in ["SELECT auth.tenant_id()", "SELECT get_current_user_tenant_id()", "SELECT auth.tenant_ids()"] {
        let error = refused(&mut client, read);
        assert_eq!(error.message, "JWT no longer accepted: issuer not accepted", "{read}");
    }
}

#[test]
fn a_changed_setting_counts_at_once() {
    let mut client = Database::new("claim_changed", USUAL).superuser();
    init_with(&mut client, json!({ "t": BLUE }));
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
    run(&mut client, "PREPARE tenant AS SELECT auth.tenant_id(); SET pg_jwks.tenant_claim = 't'");
    assert_eq!(value::<String>(&mut client, "EXECUTE tenant"), BLUE);
    run(&mut client, "BEGIN; SET LOCAL pg_jwks.tenant_claim = 'none'");
    assert_eq!(tenant(&mut client), None);
    run(&mut client, "ROLLBACK");
    assert_eq!(tenant(&mut client).as_deref(), Some(BLUE));
    run(&mut client, "RESET pg_jwks.tenant_claim");
    assert_eq!(tenant(&mut client).as_deref(), Some(RED));
}
