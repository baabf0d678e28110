//! `pg_jwks.jwks`: keys in a setting, shared secrets among them.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, key_unknown, refused, token, unavailable};
use pg_test::{Alg, Issuer, Requests, SigningKey, jwks};
use serde_json::json;

const ISS: &str = "https://issuer.example";
const SYMMETRIC: (&str, &str) = ("allowed_algorithms", "HS256, HS384, HS512, RS256");

#[test]
fn inline_keys_need_no_request() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let stranger = SigningKey::generate(Alg::Es256, "k");
    let unknown = SigningKey::generate(Alg::Es256, "unknown");
    let issuer = Issuer::start();
    issuer.publish(&[&unknown]);
    let keys = jwks(&[&key]).to_string();
    let app = App::of(&NOT_PRELOADED, &issuer, &[("jwks", &keys), ("jwks_uri", &issuer.jwks_uri())]);
    let mut client = app.connect();
    accepted(&mut client, &token(&key, issuer.url()));
    refused(&mut client, &token(&stranger, issuer.url()), "28000", "signature invalid", "");
    key_unknown(&mut client, &token(&unknown, issuer.url()));
    assert_eq!(issuer.requests(), Requests::default());
}

#[test]
fn one_inline_jwk_or_pem_will_do() {
    let key = SigningKey::generate(Alg::Ps512, "k");
    for keys in [key.public_jwk().to_string(), key.public_pem()] {
        let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), ("jwks", &keys)]);
        accepted(&mut app.connect(), &token(&key, ISS));
    }
}

#[test]
fn shared_secrets_work_inline_and_from_files_where_their_algorithm_is_listed() {
    for alg in [Alg::Hs256, Alg::Hs384, Alg::Hs512] {
        let secret = SigningKey::generate(alg, "k");
        let keys = jwks(&[&secret]).to_string();
        let file = NOT_PRELOADED.write_file(&format!("{}.json", alg.name()), &keys);
        for source in [("jwks", keys.as_str()), ("jwks_uri", &format!("file:{}", file.display()))] {
            let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), source, SYMMETRIC]);
            let mut client = app.connect();
            accepted(&mut client, &token(&secret, ISS));
            let stranger = SigningKey::generate(alg, "k");
            refused(&mut client, &token(&stranger, ISS), "28000", "signature invalid", "");
            let unlisted = App::new(&NOT_PRELOADED, &[("issuer", ISS), source]);
            refused(
                &mut unlisted.connect(),
                &token(&secret, ISS),
                "28000",
                "algorithm not allowed",
                "must be one of RS256",
            );
        }
    }
}

#[test]
fn shared_secrets_from_the_network_are_refused() {
    let secret = SigningKey::generate(Alg::Hs256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&secret]);
    let app = App::of(&NOT_PRELOADED, &issuer, &[SYMMETRIC]);
    unavailable(&mut app.connect(), &token(&secret, issuer.url()), "shared secret from the network.");
    let rsa = SigningKey::generate(Alg::Rs256, "rsa");
    issuer.publish(&[&secret, &rsa]);
    let mut client = app.connect();
    accepted(&mut client, &token(&rsa, issuer.url()));
    key_unknown(&mut client, &token(&secret, issuer.url()));
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let rsa = SigningKey::generate(Alg::Rs256, "k");
    let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), ("jwks", &jwks(&[&rsa]).to_string()), SYMMETRIC]);
    let mut client = app.connect();
    accepted(&mut client, &token(&rsa, ISS));
    let n = rsa.public_jwk()["n"].as_str().expect("a modulus").to_owned();
    for known_to_all in [rsa.public_pem(), rsa.public_pem().trim().to_owned(), rsa.public_jwk().to_string(), n] {
        let forger = SigningKey::from_secret(Alg::Hs256, "k", known_to_all.as_bytes());
        key_unknown(&mut client, &token(&forger, ISS));
    }
}

#[test]
fn secrets_shorter_than_their_hash_are_refused() {
    let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), SYMMETRIC]);
    let short = SigningKey::from_secret(Alg::Hs256, "k", &[7; 31]);
    let error = app.try_set("jwks", &jwks(&[&short]).to_string()).expect_err("31 bytes are refused");
    assert_eq!(error.sqlstate, "22023");
    assert!(error.detail.as_deref().is_some_and(|detail| detail.contains("shorter than 32 bytes")), "{error:?}");
    let enough = SigningKey::from_secret(Alg::Hs256, "k", &[7; 32]);
    app.set("jwks", &json!({ "keys": [{ "kty": "oct", "kid": "k", "k": enough.public_jwk()["k"] }] }).to_string());
    let mut client = app.connect();
    accepted(&mut client, &token(&enough, ISS));
    for alg in [Alg::Hs384, Alg::Hs512] {
        key_unknown(&mut client, &token(&SigningKey::from_secret(alg, "k", &[7; 32]), ISS));
    }
}
