//! What is not configured is said, with a hint that names the setting; and nothing is accepted.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, refused, token, unavailable};
use pg_test::{Alg, Issuer, SigningKey, jwks};

#[test]
fn without_an_issuer_no_token_is_accepted() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let keys = jwks(&[&key]).to_string();
    for settings in [[("jwks", keys.as_str())].as_slice(), &[("issuer", ""), ("jwks", &keys)], &[("issuer", " , ")]] {
        let mut client = App::new(&NOT_PRELOADED, settings).connect();
        for iss in ["me", ""] {
            let words = "No issuer is trusted";
            let error = refused(&mut client, &token(&key, iss), "55000", "no issuer configured", words);
            assert_eq!(error.hint.as_deref(), Some("Set pg_jwks.issuer or pg_jwks.providers."));
        }
    }
}

#[test]
fn without_an_audience_no_token_is_accepted() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let keys = jwks(&[&key]).to_string();
    for audience in ["", " , "] {
        let app = App::new(&NOT_PRELOADED, &[("issuer", "me"), ("jwks", &keys), ("audience", audience)]);
        let words = "Without an audience, tokens that were issued for other applications would be accepted.";
        let error = refused(&mut app.connect(), &token(&key, "me"), "55000", "no audience configured", words);
        assert!(error.hint.is_some_and(|hint| hint.contains("pg_jwks.audience") && hint.contains("'*'")));
    }
}

#[test]
fn an_audience_of_any_must_be_said_openly() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let keys = jwks(&[&key]).to_string();
    let app = App::new(&NOT_PRELOADED, &[("issuer", "me"), ("jwks", &keys), ("audience", "*")]);
    let mut client = app.connect();
    accepted(&mut client, &token(&key, "me"));
    let mut claims = pg_test::claims("me", "alice");
    claims.as_object_mut().expect("an object").remove("aud");
    accepted(&mut client, &key.sign(&claims));
    // It is the setting that says so, not the token.
    claims["aud"] = "*".into();
    app.set("audience", "app");
    refused(&mut app.connect(), &key.sign(&claims), "28000", "audience not accepted", "\"app\"");
}

#[test]
fn without_a_source_of_keys_no_token_is_accepted() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    for settings in [[("issuer", "me")].as_slice(), &[("issuer", "me"), ("jwks", " "), ("jwks_uri", "")]] {
        let words = "Issuer \"me\" is not a URL, so its keys cannot be discovered.";
        let mut client = App::new(&NOT_PRELOADED, settings).connect();
        let error = refused(&mut client, &token(&key, "me"), "55000", "no key source configured", words);
        assert_eq!(error.hint.as_deref(), Some("Set pg_jwks.jwks_uri or pg_jwks.jwks."));
    }
    // An issuer that is a URL has a source, though one without keys.
    let words = "The key document has no keys.";
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    unavailable(&mut app.connect(), &token(&key, issuer.url()), words);
}
