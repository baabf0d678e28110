//! Twenty mistakes that people make: what `auth.jwt_explain` says names each, and what to do.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::keys::base64url;
use pg_test::{Alg, Fault, Issuer, SigningKey, jwks, now};
use serde_json::json;

use crate::cases::{ISS, KEY, app, signed, with};

/// What is said of the first check that fails: its name, and the detail.
fn said(app: &App, token: &str) -> (String, String) {
    let query = "SELECT \"check\", detail FROM auth.jwt_explain($1) WITH ORDINALITY AS e(\"check\", ok, detail, n) \
                 WHERE NOT ok ORDER BY n LIMIT 1";
    let row = app.connect().query_opt(query, &[&token]).expect("jwt_explain").expect("a check that fails");
    (row.get(0), row.get(1))
}

/// A mistake: its name, who is asked about which token, the check that fails, and words of what is said.
type Mistake = (&'static str, App<'static>, String, &'static str, &'static str);

fn in_claims() -> Vec<Mistake> {
    let realm = "https://sso.example/realms/one";
    let id_token = json!({ "aud": "web", "nonce": "n", "at_hash": "h" });
    vec![
        ("slash at the end of iss", app(&[]), signed(json!({ "iss": format!("{ISS}/") })), "issuer", "Only the slash"),
        ("another scheme", app(&[]), signed(json!({ "iss": "http://issuer.example" })), "issuer", "Only the scheme"),
        (
            "another realm",
            app(&[("issuer", realm)]),
            signed(json!({ "iss": "https://sso.example/realms/two" })),
            "issuer",
            "The host is the same",
        ),
        ("no aud", app(&[]), signed(json!({ "aud": null })), "audience", "The token has none."),
        ("another aud", app(&[]), signed(json!({ "aud": "App" })), "audience", "Only upper and lower case differ."),
        ("no audience set", app(&[("audience", "")]), signed(json!({})), "audience", "Set pg_jwks.audience"),
        ("an ID token", app(&[]), signed(id_token), "audience", "send the access token"),
        (
            "an ID token where access tokens are asked for",
            app(&[("token_type", "access")]),
            signed(json!({ "nonce": "n" })),
            "type",
            "send the access token",
        ),
        ("expired", app(&[]), signed(json!({ "exp": now() - 100 })), "expiry", "The token expired 1"),
        ("a clock that is ahead", app(&[]), signed(json!({ "iat": now() + 90 })), "not_before", "Compare the clocks"),
        ("milliseconds", app(&[]), signed(json!({ "exp": now() * 1000 })), "claims", "milliseconds"),
    ]
}

fn in_texts() -> Vec<Mistake> {
    let good = signed(json!({}));
    let (front, back) = good.split_at(40);
    vec![
        ("an opaque token", app(&[]), "2YotnFZFEjr1zCsicMWpAA".into(), "format", "opaque"),
        ("an encrypted token", app(&[]), "a.b.c.d.e".into(), "format", "encrypted (JWE)"),
        ("quotes around it", app(&[]), format!("\"{good}\""), "format", "without the quotes"),
        ("a line break in it", app(&[]), format!("{front}\n{back}"), "format", "line breaks"),
        ("padding", app(&[]), format!("{good}=="), "format", "padded"),
        ("the header's word before it", app(&[]), format!("Bearer {good}"), "format", "without \"Bearer \""),
    ]
}

fn in_keys() -> Vec<Mistake> {
    // The text of the secret is given as `k`, whose bytes are another secret then.
    let text = base64url(&[7; 36]);
    let secret = SigningKey::from_secret(Alg::Hs256, "k", text.as_bytes());
    let raw = json!({ "keys": [{ "kty": "oct", "kid": "k", "alg": "HS256", "k": text }] }).to_string();
    let mut unusable = SigningKey::generate(Alg::Es256, "encryption");
    let mut jwk = unusable.public_jwk();
    jwk["use"] = "enc".into();
    let with_unusable = json!({ "keys": [KEY.public_jwk(), jwk] }).to_string();
    let rotated = std::mem::replace(&mut unusable, SigningKey::generate(Alg::Es256, "next"));
    let next = unusable.sign(&with(json!({})));
    let several: Vec<_> = (0..2).map(|n| SigningKey::generate(Alg::Es256, &format!("k{n}"))).collect();
    let without_kid = KEY.sign_with(&json!({ "alg": "ES256" }), &with(json!({})));
    let of_several = jwks(&several.iter().collect::<Vec<_>>()).to_string();
    vec![
        ("HS256 that is not listed", app(&[]), secret.sign(&with(json!({}))), "algorithm", "\"HS256\""),
        (
            "the secret itself as k",
            app(&[("allowed_algorithms", "HS256"), ("jwks", &raw)]),
            secret.sign(&with(json!({}))),
            "signature",
            "\"k\" must be the base64url of the secret",
        ),
        (
            "a key for encryption",
            app(&[("jwks", &with_unusable)]),
            rotated.sign(&with(json!({}))),
            "key",
            "\"use\" is not \"sig\"",
        ),
        ("a key that is not published", app(&[]), next, "key", "The token has \"next\"."),
        (
            "no kid and several keys",
            app(&[("jwks", &of_several)]),
            without_kid,
            "signature",
            "none of the 2 that fit made it",
        ),
    ]
}

#[test]
fn twenty_mistakes_are_named() {
    let mistakes: Vec<_> = [in_claims(), in_texts(), in_keys()].into_iter().flatten().collect();
    assert!(mistakes.len() >= 20, "{}", mistakes.len());
    for (name, app, token, check, words) in mistakes {
        let (failed, detail) = said(&app, &token);
        assert_eq!(failed, check, "{name}: {detail}");
        assert!(detail.contains(words), "{name}: {detail:?} has no {words:?}");
    }
}

#[test]
fn a_discovery_document_of_another_issuer_is_named_with_both() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    issuer.set_fault_on(pg_test::Document::Discovery, Fault::WrongIssuer);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let (check, detail) = said(&app, &KEY.sign(&with(json!({ "iss": issuer.url() }))));
    assert_eq!(check, "key", "{detail}");
    let both = format!("of issuer \"https://other-issuer.example\", not of \"{}\".", issuer.url());
    assert!(detail.contains(&both), "{detail}");
}

#[test]
fn near_misses_are_for_those_who_may_know_the_settings() {
    let plain = App::plain(&NOT_PRELOADED, &[("issuer", ISS), ("jwks", &jwks(&[&KEY]).to_string())]);
    for changes in [json!({ "iss": format!("{ISS}/") }), json!({ "aud": "App" })] {
        let (_, detail) = said(&plain, &signed(changes));
        assert!(!detail.contains("Only"), "{detail}");
    }
}
