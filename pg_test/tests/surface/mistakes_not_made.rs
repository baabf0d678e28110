//! What other software gets wrong with keys, settings and audiences: one test for each mistake, named after what holds
//! here. Some are short forms of tests elsewhere, so that none gets lost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, init, key_unknown, refused, sees, token, unavailable};
use pg_test::{Alg, Fault, Issuer, Requests, SigningKey, claims, jwks, now, pg_error};
use serde_json::json;

use crate::cases::{ISS, KEY, app};

fn es256(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, kid)
}

#[test]
fn a_cached_token_is_checked_for_exp_again() {
    let mut client = app(&[("leeway", "0")]).connect();
    let mut claims = claims(ISS, "alice");
    let exp = now() + 2;
    claims["exp"] = json!(exp);
    let token = KEY.sign(&claims);
    accepted(&mut client, &token);
    while now() <= exp {
        sleep(Duration::from_millis(50));
    }
    let error = client.query("SELECT * FROM note", &[]).expect_err("the identity has expired");
    assert_eq!((pg_error(&error).sqlstate.as_str(), pg_error(&error).message.as_str()), ("28000", "JWT has expired"));
    refused(&mut client, &token, "28000", "token expired", "The token expired ");
}

#[test]
fn an_unknown_kid_refreshes() {
    let (old, new) = (es256("old"), es256("new"));
    let issuer = Issuer::start();
    issuer.publish(&[&old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    accepted(&mut client, &token(&old, issuer.url()));
    issuer.publish(&[&old, &new]);
    accepted(&mut client, &token(&new, issuer.url()));
}

#[test]
fn unknown_kids_refresh_once_in_a_second() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    accepted(&mut client, &token(&KEY, issuer.url()));
    let start = std::time::Instant::now();
    for attempt in 0..20 {
        key_unknown(&mut client, &token(&es256(&format!("unknown-{attempt}")), issuer.url()));
    }
    let looks = 1 + usize::try_from(start.elapsed().as_secs()).expect("some seconds");
    assert!((2..=1 + looks).contains(&issuer.requests().jwks), "{:?}", issuer.requests());
}

#[test]
fn a_failed_fetch_replaces_no_good_keys() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    accepted(&mut client, &token(&KEY, issuer.url()));
    issuer.set_fault(Fault::EmptySet);
    key_unknown(&mut client, &token(&es256("unknown"), issuer.url()));
    assert_eq!(issuer.requests().jwks, 2, "the fault was met");
    accepted(&mut client, &token(&KEY, issuer.url()));
}

#[test]
fn withdrawn_keys_verify_until_their_ttl_ends() {
    let (old, new) = (es256("old"), es256("new"));
    let issuer = Issuer::start();
    issuer.publish(&[&old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("jwks_cache_ttl", "1s")]).connect();
    let remembered = token(&old, issuer.url());
    accepted(&mut client, &remembered);
    issuer.publish(&[&new]);
    sleep(Duration::from_millis(1100));
    key_unknown(&mut client, &remembered);
    key_unknown(&mut client, &token(&old, issuer.url()));
}

#[test]
fn the_cache_stores_keys() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    for _ in 0..10 {
        accepted(&mut client, &token(&KEY, issuer.url()));
    }
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
}

#[test]
fn the_audience_is_checked() {
    let app = app(&[]);
    let mut client = app.connect();
    for aud in [json!("shop"), json!(["shop"]), json!([]), json!("app "), json!("APP"), json!("*"), json!("shop,app")] {
        let mut claims = claims(ISS, "alice");
        claims["aud"] = aud;
        refused(&mut client, &KEY.sign(&claims), "28000", "audience not accepted", "Claim \"aud\" must have \"app\".");
    }
    // Nor is it off where nobody has set it.
    app.set("audience", "");
    refused(&mut app.connect(), &token(&KEY, ISS), "55000", "no audience configured", "");
}

#[test]
fn an_rsa_key_is_no_secret_for_hs256() {
    let rsa = SigningKey::generate(Alg::Rs256, "k");
    for algorithms in ["RS256", "RS256, HS256", "HS256"] {
        let app = app(&[("jwks", &jwks(&[&rsa]).to_string()), ("allowed_algorithms", algorithms)]);
        let mut client = app.connect();
        for secret in [rsa.public_pem().into_bytes(), rsa.public_jwk().to_string().into_bytes()] {
            let forged = SigningKey::from_secret(Alg::Hs256, "k", &secret).sign(&claims(ISS, "alice"));
            assert_eq!(init(&mut client, &forged).expect_err("a forged token").sqlstate, "28000");
            assert!(sees(&mut client).is_empty());
        }
    }
}

#[test]
fn a_key_that_does_not_match_lets_the_next_one_try() {
    let keys = [es256("same"), es256("same"), es256("other")];
    let app = app(&[("jwks", &jwks(&[&keys[0], &keys[1], &keys[2]]).to_string())]);
    let mut client = app.connect();
    for key in &keys {
        accepted(&mut client, &token(key, ISS));
    }
}

#[test]
fn the_user_cannot_supply_the_key() {
    let stranger = es256("k");
    let forged = token(&stranger, ISS);
    let keys = jwks(&[&stranger]).to_string();
    let app = app(&[]);
    // When connecting, before the library is loaded, and afterwards.
    let mut config = NOT_PRELOADED.config();
    let options = format!("-c pg_jwks.jwks={}", keys.replace(' ', "\\ "));
    let mut client = NOT_PRELOADED.try_connect(config.user(app.role()).options(&options)).expect("a session");
    init(&mut client, &forged).expect_err("a forged token");
    assert!(sees(&mut client).is_empty());
    let mut client = app.connect();
    client.batch_execute(&format!("SET pg_jwks.jwks = '{keys}'")).expect("no library, no check");
    refused(&mut client, &forged, "28000", "signature invalid", "");
    let error = client.batch_execute(&format!("SET pg_jwks.jwks = '{keys}'")).expect_err("refused");
    assert_eq!(pg_error(&error).sqlstate, "42501");
    // In the token's own header.
    let header = json!({ "alg": "ES256", "kid": "k", "jwk": stranger.public_jwk(), "jku": "http://127.0.0.1:1/" });
    let forged = stranger.sign_with(&header, &claims(ISS, "alice"));
    refused(&mut client, &forged, "28000", "signature invalid", "");
    accepted(&mut client, &token(&KEY, ISS));
}

#[test]
fn the_user_cannot_supply_the_claims() {
    let app = app(&[]);
    let evil = r#"{"sub":"alice","exp":9999999999}"#;
    let settings = ["pg_jwks.session", "request.jwt.claims", "request.jwt.claim.sub", "auth.user_id"];
    for load in ["SELECT 1", "SELECT auth.init()"] {
        for setting in settings {
            let mut client = app.connect();
            client.batch_execute(load).expect("a query");
            // This may be refused or be without effect.
            let _ = client.batch_execute(&format!("SET {setting} = '{evil}'"));
            assert!(sees(&mut client).is_empty(), "{setting}");
        }
    }
}

#[test]
fn a_blocking_fetch_can_be_cancelled() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    issuer.set_fault(Fault::Hang);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("fetch_timeout", "20s")]).connect();
    client.batch_execute("SET statement_timeout = '200ms'").expect("SET");
    let start = Instant::now();
    let error = init(&mut client, &token(&KEY, issuer.url())).expect_err("cancelled");
    assert_eq!(error.sqlstate, "57014", "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(sees(&mut client).is_empty());
}

#[test]
fn claim_names_are_not_interpolated_into_sql() {
    let mut claims = claims(ISS, "alice");
    let names = ["o'clock", "'; DROP TABLE note; --", "a\"b", "$1", "%s", "{a,b}", "a.b", "\\", "\u{f6}"];
    for name in names {
        claims[name] = json!(format!("value of {name}"));
    }
    let token = KEY.sign(&claims);
    for name in names {
        // As a path of one name: a text that has dots, or begins with a bracket, would be read as several.
        let path = json!([name]).to_string();
        let mut client = app(&[("role_claim", &path)]).connect();
        accepted(&mut client, &token);
        let value = format!("value of {name}");
        let row = client.query_one("SELECT auth.claim($1), auth.has_role($2)", &[&name, &value]).expect("readers");
        assert_eq!((row.get::<_, Option<String>>(0).as_deref(), row.get::<_, bool>(1)), (Some(&*value), true));
    }
}

#[test]
fn the_token_is_not_in_the_error_if_keys_cannot_be_had() {
    let issuer = Issuer::start();
    issuer.set_fault(Fault::Status(500));
    let mark = NOT_PRELOADED.log_mark();
    let token = token(&KEY, issuer.url());
    unavailable(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token, "answered 500.");
    let log = NOT_PRELOADED.log_since(mark);
    assert!(token.split('.').all(|part| !log.contains(part)), "{log}");
}
