//! Every key signs what it publishes.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pg_test::{Alg, SigningKey, claims, jwks, keys, now};
use serde_json::{Value, json};

fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("base64url without padding")
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    decode(jwk[name].as_str().expect("a string member"))
}

/// Checks a signature with nothing but the published JWK.
fn verify(jwk: &Value, message: &[u8], signature: &[u8]) -> bool {
    let rsa = |algorithm: &'static signature::RsaParameters| {
        let key = RsaPublicKeyComponents { n: member(jwk, "n"), e: member(jwk, "e") };
        key.verify(algorithm, message, signature).is_ok()
    };
    let ec = |algorithm: &'static signature::EcdsaVerificationAlgorithm| {
        let point = [vec![4], member(jwk, "x"), member(jwk, "y")].concat();
        UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
    };
    let secret = |algorithm| hmac::verify(&hmac::Key::new(algorithm, &member(jwk, "k")), message, signature).is_ok();
    match jwk["alg"].as_str().expect("alg") {
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        "ES256" => ec(&signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => ec(&signature::ECDSA_P384_SHA384_FIXED),
        "EdDSA" => UnparsedPublicKey::new(&signature::ED25519, member(jwk, "x")).verify(message, signature).is_ok(),
        "HS256" => secret(hmac::HMAC_SHA256),
        "HS384" => secret(hmac::HMAC_SHA384),
        "HS512" => secret(hmac::HMAC_SHA512),
        other => panic!("{other}"),
    }
}

#[test]
fn tokens_of_every_algorithm_verify_with_the_published_key() {
    for alg in Alg::ALL {
        let key = SigningKey::generate(alg, "k1");
        let token = key.sign(&claims("https://issuer.example", "alice"));
        let (message, signature) = token.rsplit_once('.').expect("a signature");
        let (header, payload) = message.split_once('.').expect("a payload");
        let header: Value = serde_json::from_slice(&decode(header)).expect("JSON");
        assert_eq!(header, json!({ "alg": alg.name(), "typ": "JWT", "kid": "k1" }));
        let payload: Value = serde_json::from_slice(&decode(payload)).expect("JSON");
        assert_eq!((&payload["sub"], &payload["aud"]), (&json!("alice"), &json!("app")));
        assert!(payload["exp"].as_i64().expect("exp") > now());

        let jwk = key.public_jwk();
        assert_eq!((&jwk["kid"], &jwk["use"]), (&json!("k1"), &json!("sig")));
        assert!(verify(&jwk, message.as_bytes(), &decode(signature)), "{alg:?}");
        assert!(!verify(&jwk, b"another message", &decode(signature)), "{alg:?}");
        assert_eq!(jwks(&[&key]), json!({ "keys": [jwk] }));
    }
}

#[test]
fn the_published_pem_is_the_same_key() {
    let key = SigningKey::generate(Alg::Es256, "k1");
    let pem = key.public_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).expect("base64");
    let jwk = key.public_jwk();
    assert!(der.ends_with(&[member(&jwk, "x"), member(&jwk, "y")].concat()));
    for alg in [Alg::Rs256, Alg::EdDsa] {
        assert!(SigningKey::generate(alg, "k").public_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
    }
}

#[test]
fn rsa_keys_have_the_size_asked_for() {
    let modulus = member(&SigningKey::rsa(Alg::Rs256, "k1", 3072).public_jwk(), "n");
    assert_eq!(modulus.len() * 8, 3072);
}

#[test]
fn malformed_tokens_can_be_signed_and_forged() {
    let key = SigningKey::from_secret(Alg::Hs256, "k1", b"short");
    let token = key.sign_raw(b"\xff", b"not JSON");
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    assert!(verify(&key.public_jwk(), message.as_bytes(), &decode(signature)));
    assert_eq!(message, "_w.bm90IEpTT04");
    assert_eq!(keys::compact(br#"{"alg":"none"}"#, b"{}", b""), "eyJhbGciOiJub25lIn0.e30.");
}
