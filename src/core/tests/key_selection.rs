//! Which key a token is checked with, and when newer keys are asked for.

mod common;

use std::sync::Arc;

use common::*;
use pg_jwks_core::bounds::MAX_CANDIDATE_KEYS;
use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::verification::verify::{Keys, verify};
use serde_json::{Value, json};

const WITH_HMAC: &str = "HS256, HS384, HS512, RS256, PS256, ES256, EdDSA";

/// A JWK under another `kid`.
fn renamed(signer: &Signer, kid: &str) -> Value {
    let mut jwk = signer.jwk();
    jwk["kid"] = json!(kid);
    jwk
}

/// A JWK without `kid`.
fn unnamed(signer: &Signer) -> Value {
    let mut jwk = signer.jwk();
    jwk.as_object_mut().unwrap().remove("kid");
    jwk
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let document = json!({"keys": [RSA.jwk()]}).to_string();
    let coordinates = P256.spki()[27..].to_vec();
    let secrets: Vec<Vec<u8>> = vec![
        RSA.pem().into_bytes(),
        RSA.pem().trim_end().as_bytes().to_vec(),
        RSA.spki(),
        RSA.pkcs1(),
        pem("RSA PUBLIC KEY", &RSA.pkcs1()).into_bytes(),
        RSA.jwk().to_string().into_bytes(),
        RSA.jwk()["n"].as_str().unwrap().as_bytes().to_vec(),
        document.into_bytes(),
        P256.pem().into_bytes(),
        P256.spki(),
        coordinates,
        ED25519.pem().into_bytes(),
        ED25519.spki()[12..].to_vec(),
        Vec::new(),
    ];
    for signer in [&*RSA, &P256, &ED25519] {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let input = Token::new(signer).header("alg", algorithm).text();
            let input = &input[..input.rfind('.').unwrap()];
            for secret in &secrets {
                let forged = format!("{input}.{}", base64url(&hmac_of(algorithm, secret, input.as_bytes())));
                let mut server = Server::new(&[&RSA, &P256, &ED25519]);
                assert_eq!(server.verify(&forged).unwrap_err(), Reason::AlgorithmNotAllowed);
                // Not even where HMAC is allowed, beside a secret of the server's own.
                let mut server = server.set(|settings| settings.allowed_algorithms = WITH_HMAC);
                assert_eq!(server.verify(&forged).unwrap_err(), Reason::KeyUnknown);
                let mut server =
                    Server::new(&[&RSA, &P256, &ED25519, &OCT]).set(|settings| settings.allowed_algorithms = WITH_HMAC);
                assert_eq!(server.verify(&forged).unwrap_err(), Reason::KeyUnknown);
            }
        }
    }
}

#[test]
fn a_key_serves_the_algorithms_of_its_own_type_only() {
    let signers = [&*RSA, &P256, &P384, &ED25519, &OCT];
    for signer in signers {
        for other in signers.iter().filter(|other| other.kid != signer.kid) {
            for algorithm in other.algorithms() {
                let token = Token::new(signer).header("alg", *algorithm).text();
                let mut server = Server::new(&signers).set(|settings| {
                    settings.allowed_algorithms =
                        "HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA"
                });
                assert_eq!(server.verify(token).unwrap_err(), Reason::KeyUnknown, "{} {algorithm}", signer.kid);
            }
        }
    }
}

#[test]
fn an_rsa_key_checks_a_signature_by_the_algorithm_that_the_header_names() {
    let payload = json!({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW.micros() / 1_000_000 + 300}).to_string();
    let mut server = Server::new(&[&RSA]);
    // One server checks all of them: what it has made of the key for one algorithm must not serve another.
    for named in RSA.algorithms() {
        for signed in RSA.algorithms() {
            let header = json!({"alg": named, "kid": RSA.kid}).to_string();
            let token = compact(&RSA, signed, header.as_bytes(), payload.as_bytes());
            let expected = if named == signed { None } else { Some(Reason::SignatureInvalid) };
            assert_eq!(server.verify(token).err(), expected, "{named} {signed}");
        }
    }
}

#[test]
fn the_publishers_binding_of_a_key_to_an_algorithm_holds() {
    let mut jwk = RSA.jwk();
    jwk["alg"] = json!("RS256");
    let mut server = Server::with_keys(key_set_of(&[jwk]));
    server.verify(Token::new(&RSA).text()).unwrap();
    let token = Token::new(&RSA).header("alg", "PS256").text();
    assert_eq!(server.verify(token).unwrap_err(), Reason::KeyUnknown);
}

#[test]
fn keys_in_the_header_are_ignored() {
    let attacker = &*RSA_OTHER;
    for kid in [json!(RSA.kid), json!(RSA_OTHER.kid), json!("anything")] {
        let token = Token::new(attacker)
            .header("kid", kid.clone())
            .header("jwk", attacker.jwk())
            .header("jku", "https://attacker.example/jwks.json")
            .header("x5u", "https://attacker.example/certificate.pem")
            .header("x5c", json!(["MIIB"]))
            .header("x5t", "AAAA");
        let mut server = Server::new(&[&RSA]);
        let expected = if kid == RSA.kid { Reason::SignatureInvalid } else { Reason::KeyUnknown };
        assert_eq!(server.verify(token.text()).unwrap_err(), expected);
        assert_eq!(server.keys.asked, 1);
    }
    // They do not hinder the issuer's own tokens either, whatever they are.
    for value in [json!(null), json!(1), json!({"kty": "oct"}), RSA_OTHER.jwk()] {
        let token = Token::new(&RSA).header("jwk", value.clone()).header("jku", value.clone()).header("x5c", value);
        Server::new(&[&RSA]).verify(token.text()).unwrap();
    }
}

#[test]
fn names_of_keys_are_compared_exactly_and_do_nothing_else() {
    let weird = ["", " ", "RSA", "rsa ", "rsa\0", "../../etc/passwd", "' OR 1=1 --", "%s%n", "\u{202e}asr", "😀"];
    for kid in weird {
        let token = Token::new(&RSA).header("kid", kid).text();
        assert_eq!(Server::new(&[&RSA]).verify(&token).unwrap_err(), Reason::KeyUnknown, "{kid:?}");
        Server::with_keys(key_set_of(&[renamed(&RSA, kid), RSA_OTHER.jwk()])).verify(&token).unwrap();
    }
    let long = "k".repeat(8_000);
    let token = Token::new(&RSA).header("kid", long.as_str()).text();
    Server::with_keys(key_set_of(&[renamed(&RSA, &long)])).verify(token).unwrap();
}

#[test]
fn a_token_without_kid_is_verified_with_every_key_that_fits() {
    let nameless = Token::new(&RSA).without_header("kid").text();
    for keys in [&[&*RSA][..], &[&P256, &RSA, &ED25519], &[&RSA, &RSA_OTHER], &[&RSA_OTHER, &RSA]] {
        let mut server = Server::new(keys);
        server.verify(&nameless).unwrap();
        assert_eq!(server.keys.fetches, 0);
    }
    assert_eq!(Server::new(&[&P256]).verify(&nameless).unwrap_err(), Reason::KeyUnknown);
    assert_eq!(Server::new(&[&RSA_OTHER]).verify(&nameless).unwrap_err(), Reason::SignatureInvalid);
}

#[test]
fn keys_without_kid_serve_any_token_while_one_replaces_the_other() {
    let token = Token::new(&RSA).text();
    Server::with_keys(key_set_of(&[unnamed(&RSA)])).verify(&token).unwrap();
    Server::with_keys(key_set_of(&[RSA_OTHER.jwk(), unnamed(&RSA)])).verify(&token).unwrap();
    for jwks in [[unnamed(&RSA), unnamed(&RSA_OTHER)], [unnamed(&RSA_OTHER), unnamed(&RSA)]] {
        for token in [token.clone(), Token::new(&RSA).without_header("kid").text()] {
            let mut server = Server::with_keys(key_set_of(&jwks));
            server.verify(token).unwrap();
            assert_eq!(server.keys.fetches, 0);
        }
    }
    // A key of another kid is not the token's.
    let mut server = Server::with_keys(key_set_of(&[renamed(&RSA, "another"), unnamed(&RSA_OTHER)]));
    assert_eq!(server.verify(&token).unwrap_err(), Reason::SignatureInvalid);
    assert_eq!(server.keys.fetches, 1);
}

#[test]
fn keys_that_no_kid_tells_apart_are_tried_within_a_bound() {
    let token = Token::new(&RSA).text();
    for token in [token.clone(), Token::new(&RSA).without_header("kid").text()] {
        let mut jwks = vec![unnamed(&RSA_OTHER); MAX_CANDIDATE_KEYS - 1];
        jwks.push(unnamed(&RSA));
        Server::with_keys(key_set_of(&jwks)).verify(&token).unwrap();
        jwks.insert(0, unnamed(&RSA_OTHER));
        let mut server = Server::with_keys(key_set_of(&jwks));
        assert_eq!(server.verify(&token).unwrap_err(), Reason::KeyAmbiguous);
        assert_eq!(server.keys.fetches, 1, "a newer set can have fewer keys");
        server.keys.newer = Ok(Some(key_set_of(&[unnamed(&RSA)])));
        server.verify(&token).unwrap();
    }
}

#[test]
fn the_key_of_the_tokens_kid_is_the_only_one_tried() {
    // A key without kid would verify, but the token names another.
    let mut server = Server::with_keys(key_set_of(&[renamed(&RSA_OTHER, "rsa"), unnamed(&RSA)]));
    assert_eq!(server.verify(Token::new(&RSA).text()).unwrap_err(), Reason::SignatureInvalid);
    assert_eq!(server.keys.fetches, 0);
}

#[test]
fn keys_of_one_name_are_all_tried_within_a_bound() {
    let others = |count| vec![renamed(&RSA_OTHER, "rsa"); count];
    let mut jwks = others(MAX_CANDIDATE_KEYS - 1);
    jwks.push(RSA.jwk());
    Server::with_keys(key_set_of(&jwks)).verify(Token::new(&RSA).text()).unwrap();
    let mut jwks = others(MAX_CANDIDATE_KEYS);
    jwks.push(RSA.jwk());
    let mut server = Server::with_keys(key_set_of(&jwks));
    assert_eq!(server.verify(Token::new(&RSA).text()).unwrap_err(), Reason::SignatureInvalid);
    // Keys of other types share no bound with them.
    let mut jwks = vec![renamed(&P256, "rsa"); MAX_CANDIDATE_KEYS];
    jwks.push(RSA.jwk());
    Server::with_keys(key_set_of(&jwks)).verify(Token::new(&RSA).text()).unwrap();
}

#[test]
fn an_unknown_kid_asks_once_for_newer_keys() {
    let mut server = Server::new(&[&RSA]);
    let token = Token::new(&RSA_OTHER).text();
    assert_eq!(server.verify(&token).unwrap_err(), Reason::KeyUnknown);
    assert_eq!((server.keys.asked, server.keys.fetches), (1, 1));
    server.keys.newer = Ok(Some(key_set(&[&RSA_OTHER])));
    server.verify(&token).unwrap();
    assert_eq!((server.keys.asked, server.keys.fetches), (2, 2));
    server.keys.newer = Ok(Some(key_set(&[&P256])));
    assert_eq!(server.verify(&token).unwrap_err(), Reason::KeyUnknown);
    assert_eq!((server.keys.asked, server.keys.fetches), (3, 3));
    server.keys.newer = Err(Rejection::new(Reason::KeysUnavailable, "Keys could not be had."));
    assert_eq!(server.verify(&token).unwrap_err(), Reason::KeysUnavailable);
}

#[test]
fn a_known_kid_never_asks_for_newer_keys() {
    let mut server = Server::new(&[&RSA, &P256]);
    server.verify(Token::new(&RSA).text()).unwrap();
    let forged = Token::new(&RSA_OTHER).header("kid", RSA.kid).text();
    assert_eq!(server.verify(forged).unwrap_err(), Reason::SignatureInvalid);
    let expired = Token::new(&RSA).claim("exp", 1).text();
    assert_eq!(server.verify(expired).unwrap_err(), Reason::Expired);
    let of_another_type = Token::new(&RSA).header("kid", P256.kid).text();
    assert_eq!(server.verify(of_another_type).unwrap_err(), Reason::KeyUnknown);
    assert_eq!(server.keys.fetches, 0);
}

#[test]
fn a_key_without_a_name_can_be_replaced_unnoticed_so_its_failure_asks_for_newer_keys() {
    let token = Token::new(&RSA).without_header("kid").text();
    let mut server = Server::with_keys(key_set_of(&[unnamed(&RSA_OTHER)]));
    assert_eq!(server.verify(&token).unwrap_err(), Reason::SignatureInvalid);
    assert_eq!(server.keys.fetches, 1);
    server.keys.newer = Ok(Some(key_set_of(&[unnamed(&RSA)])));
    server.verify(&token).unwrap();
    server.keys.current = Ok(key_set_of(&[unnamed(&RSA)]));
    server.verify(&token).unwrap();
    assert_eq!(server.keys.fetches, 2, "a key that fits asks for nothing");
}

#[test]
fn shared_secrets_work_where_the_server_has_them_and_allows_them() {
    let token = Token::new(&OCT).text();
    let document = json!({"keys": [OCT.jwk(), RSA.jwk()]}).to_string();
    for (trust, algorithms, expected) in [
        (Trust::Local, WITH_HMAC, Ok(())),
        (Trust::Local, "RS256", Err(Reason::AlgorithmNotAllowed)),
        (Trust::Network, WITH_HMAC, Err(Reason::KeyUnknown)),
    ] {
        let keys = Arc::new(KeySet::parse(document.as_bytes(), trust).unwrap());
        let mut server = Server::with_keys(keys).set(|settings| settings.allowed_algorithms = algorithms);
        assert_eq!(server.verify(&token).map(drop), expected);
    }
}

#[test]
fn each_issuer_has_keys_and_algorithms_of_its_own() {
    struct ByIssuer;
    impl Keys for ByIssuer {
        fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection> {
            match provider.issuer.as_str() {
                "a" => Ok(key_set(&[&RSA, &P256])),
                _ => Ok(key_set(&[&RSA_OTHER])),
            }
        }
        fn newer(&mut self, _: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
            Ok(None)
        }
    }
    let providers =
        r#"[{"issuer":"a","allowed_algorithms":"RS256"},{"issuer":"b","allowed_algorithms":"RS512, ES256"}]"#;
    let server = Server::new(&[&RSA]).set(|settings| {
        settings.issuer = None;
        settings.providers = Some(providers);
    });
    let judge = |signer: &'static Signer, algorithm: &str, issuer: &str| {
        let token = Token::new(signer).header("alg", algorithm).claim("iss", issuer).text();
        verify(token.as_bytes(), &server.providers(), &mut ByIssuer, NOW).map(drop).map_err(|error| error.reason)
    };
    assert_eq!(judge(&RSA, "RS256", "a"), Ok(()));
    assert_eq!(judge(&RSA_OTHER, "RS512", "b"), Ok(()));
    assert_eq!(judge(&RSA, "RS512", "b"), Err(Reason::KeyUnknown), "the other issuer's key");
    assert_eq!(judge(&RSA, "RS512", "a"), Err(Reason::AlgorithmNotAllowed));
    assert_eq!(judge(&P256, "ES256", "a"), Err(Reason::AlgorithmNotAllowed), "though a key fits");
    assert_eq!(judge(&RSA, "RS256", "c"), Err(Reason::IssuerNotAccepted));
}

#[test]
fn keys_are_untouched_until_algorithm_and_issuer_are_accepted() {
    struct Untouchable;
    impl Keys for Untouchable {
        fn current(&mut self, _: &Provider) -> Result<Arc<KeySet>, Rejection> {
            panic!("keys were asked for");
        }
        fn newer(&mut self, _: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
            panic!("newer keys were asked for");
        }
    }
    let providers = Server::new(&[&RSA]).providers();
    let token = Token::new(&RSA);
    for (token, expected) in [
        (token.clone().claim("iss", "https://attacker.example").text(), Reason::IssuerNotAccepted),
        (token.clone().without("iss").text(), Reason::IssuerNotAccepted),
        (token.clone().header("alg", "none").text(), Reason::AlgorithmNotAllowed),
        (token.clone().header("crit", json!(["x"])).text(), Reason::CriticalHeader),
        (token.text_of(b"null"), Reason::PayloadMalformed),
    ] {
        assert_eq!(verify(token.as_bytes(), &providers, &mut Untouchable, NOW).unwrap_err().reason, expected);
    }
}
