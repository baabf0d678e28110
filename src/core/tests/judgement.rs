//! Judging an identity again: the verdict is that of verifying its token again.

mod common;

use std::sync::Arc;

use common::*;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::TokenType;
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::{Span, Timestamp};
use pg_jwks_core::verification::judgement::judge;
use pg_jwks_core::verification::verify::VerifiedClaims;
use serde_json::json;

fn later(seconds: i64) -> Timestamp {
    NOW + Span::from_seconds(seconds)
}

fn verified(token: &Token) -> VerifiedClaims {
    Server::new(&[&RSA]).verify(token.text()).unwrap()
}

/// The verdict under the settings and keys of a server.
fn judged(claims: &VerifiedClaims, server: &Server, now: Timestamp) -> Result<Timestamp, Rejection> {
    let held = server.keys.current.clone().ok();
    judge(claims, &claims.evidence(), &server.providers(), |_| held, now)
}

#[test]
fn each_change_ends_an_identity_for_the_reason_for_which_its_token_would_be_refused() {
    let server = || Server::new(&[&RSA]);
    let mut cases: Vec<(Reason, Server)> = vec![
        (Reason::IssuerNotConfigured, server().set(|settings| settings.issuer = None)),
        (Reason::IssuerNotAccepted, server().set(|settings| settings.issuer = Some("https://other.example"))),
        (Reason::AlgorithmNotAllowed, server().set(|settings| settings.allowed_algorithms = "PS256, ES256")),
        (Reason::KeyUnknown, Server::new(&[&P256])),
        (Reason::KeyUnknown, Server::new(&[&RSA_OTHER])),
        (Reason::AudienceNotConfigured, server().set(|settings| settings.audience = None)),
        (Reason::AudienceNotAccepted, server().set(|settings| settings.audience = Some("other"))),
        (Reason::ScopeMissing, server().set(|settings| settings.required_scope = Some("admin"))),
    ];
    let mut without_type = server().set(|settings| settings.token_type = TokenType::Access);
    for (reason, server) in &mut cases {
        let token = Token::new(&RSA);
        let claims = verified(&token);
        server.now = later(40);
        assert_eq!(judged(&claims, server, server.now).unwrap_err().reason, *reason);
        assert_eq!(server.verify(token.text()).unwrap_err(), *reason, "a new login");
    }
    let token = Token::new(&RSA).header("typ", "JWT");
    let claims = verified(&token);
    assert_eq!(judged(&claims, &without_type, NOW).unwrap_err().reason, Reason::TypeNotAccepted);
    assert_eq!(without_type.verify(token.text()).unwrap_err(), Reason::TypeNotAccepted);
    judged(&verified(&Token::new(&RSA)), &without_type, NOW).unwrap();
}

#[test]
fn an_identity_stands_until_the_end_of_its_token() {
    let claims = verified(&Token::new(&RSA));
    let server = Server::new(&[&RSA]);
    assert_eq!(judged(&claims, &server, NOW).unwrap(), later(300));
    assert_eq!(judged(&claims, &server, later(331)).unwrap(), later(300), "the caller looks at the time");
    let aged = Server::new(&[&RSA]).set(|settings| settings.max_token_age = Some(Span::from_seconds(60)));
    assert_eq!(judged(&claims, &aged, NOW).unwrap(), later(60));
    let aged = Server::new(&[&RSA]).set(|settings| settings.max_token_age = Some(Span::from_seconds(900)));
    assert_eq!(judged(&claims, &aged, NOW).unwrap(), later(300));
    let undated = verified(&Token::new(&RSA).without("iat"));
    assert_eq!(judged(&undated, &aged, NOW).unwrap_err().reason, Reason::TooOld);
}

#[test]
fn keys_that_are_not_at_hand_end_no_identity() {
    let claims = verified(&Token::new(&RSA));
    let mut server = Server::new(&[&RSA]);
    server.keys.current = Err(Rejection::new(Reason::KeysUnavailable, "Keys could not be had."));
    judged(&claims, &server, NOW).unwrap();
}

#[test]
fn the_same_key_in_another_document_vouches_on() {
    let claims = verified(&Token::new(&RSA));
    let mut server = Server::new(&[&RSA]);
    let with = |jwk: serde_json::Value| {
        let document = json!({"keys": [P256.jwk(), jwk]}).to_string();
        Ok(Arc::new(KeySet::parse(document.as_bytes(), pg_jwks_core::jose::jwks::Trust::Network).unwrap()))
    };
    server.keys.current = with(RSA.jwk());
    judged(&claims, &server, NOW).unwrap();
    let mut unnamed = RSA.jwk();
    unnamed.as_object_mut().unwrap().remove("kid");
    server.keys.current = with(unnamed);
    judged(&claims, &server, NOW).unwrap();
    for (member, value) in [("kid", "renamed"), ("alg", "RS512")] {
        let mut other = RSA.jwk();
        other[member] = value.into();
        server.keys.current = with(other);
        assert_eq!(judged(&claims, &server, NOW).unwrap_err().reason, Reason::KeyUnknown, "{member}");
    }
    // A token without "kid" takes any key that fits.
    let claims = verified(&Token::new(&RSA).without_header("kid"));
    let mut renamed = RSA.jwk();
    renamed["kid"] = "renamed".into();
    server.keys.current = with(renamed);
    judged(&claims, &server, NOW).unwrap();
}

#[test]
fn what_unprivileged_users_are_told_has_no_settings() {
    let claims = verified(&Token::new(&RSA));
    for server in [
        Server::new(&[&RSA]).set(|settings| settings.issuer = Some("https://secret.example")),
        Server::new(&[&RSA]).set(|settings| settings.allowed_algorithms = "ES384"),
        Server::new(&[&RSA]).set(|settings| settings.audience = Some("secret")),
        Server::new(&[&RSA]).set(|settings| settings.required_scope = Some("secret")),
    ] {
        let rejection = judged(&claims, &server, NOW).unwrap_err().without_settings();
        assert!(!rejection.detail.contains("secret") && !rejection.detail.contains("ES384"), "{}", rejection.detail);
    }
}
