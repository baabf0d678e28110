//! The checks of a token: each reason on its own, and the edges of each check.

mod common;

use std::collections::HashSet;

use common::*;
use pg_jwks_core::bounds::{MAX_CANDIDATE_KEYS, MAX_TOKEN_BYTES};
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::TokenType;
use pg_jwks_core::rejection::{Class, Reason, Rejection};
use pg_jwks_core::time::{Span, Timestamp};
use pg_jwks_core::verification::verify::no_key_source;
use serde_json::{Value, json};

fn now_seconds() -> i64 {
    NOW.micros() / 1_000_000
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() + micros)
}

/// A token for each reason, and a server that has nothing else against it.
fn one_failure_each() -> Vec<(Reason, Server, String)> {
    let server = || Server::new(&[&RSA]);
    let unavailable = |rejection: Rejection| {
        let mut server = server();
        server.keys.current = Err(rejection);
        server
    };
    let unnamed = || server().set(|settings| settings.issuer = Some("sophia-ai"));
    let token = || Token::new(&RSA);
    let other_key = || Token::new(&RSA_OTHER).header("kid", RSA.kid);
    let now = now_seconds();
    vec![
        (Reason::TokenTooLarge, server(), token().claim("pad", "x".repeat(MAX_TOKEN_BYTES)).text()),
        (Reason::NotCompact, server(), token().text().replace('.', "")),
        (Reason::NotBase64Url, server(), token().text() + "="),
        (Reason::HeaderMalformed, server(), token().without_header("alg").text()),
        (Reason::CriticalHeader, server(), token().header("crit", json!(["exp"])).text()),
        (Reason::AlgorithmNotAllowed, server(), token().header("alg", "none").text()),
        (Reason::IssuerNotConfigured, server().set(|settings| settings.issuer = None), token().text()),
        (Reason::IssuerNotAccepted, server(), token().claim("iss", "https://issuer.example/").text()),
        (
            Reason::KeySourceNotConfigured,
            { unavailable(no_key_source(&unnamed().provider()).unwrap()) }.set(|s| s.issuer = Some("sophia-ai")),
            token().claim("iss", "sophia-ai").text(),
        ),
        (
            Reason::KeysUnavailable,
            unavailable(Rejection::new(Reason::KeysUnavailable, "Keys could not be had.")),
            token().text(),
        ),
        (
            Reason::ClaimRequired,
            server().set(|settings| settings.required_claims = Some(r#"{"role": ["admin", "owner"]}"#)),
            token().text(),
        ),
        (Reason::KeyUnknown, server(), token().header("kid", "withdrawn").text()),
        (
            Reason::KeyAmbiguous,
            Server::new(&[&*RSA_OTHER; MAX_CANDIDATE_KEYS + 1]),
            token().without_header("kid").text(),
        ),
        (Reason::SignatureInvalid, server(), other_key().text()),
        (Reason::PayloadMalformed, server(), token().text_of(b"[]")),
        (Reason::DuplicateClaim, server(), token().text_of(br#"{"iss":"a","iss":"https://issuer.example"}"#)),
        (Reason::ClaimMalformed, server(), token().claim("sub", 7).text()),
        (Reason::ExpiryMissing, server(), token().without("exp").text()),
        (Reason::Expired, server(), token().claim("exp", now).text()),
        (
            Reason::TooLongLived,
            server().set(|settings| settings.max_token_lifetime = Some(Span::from_seconds(60))),
            token().text(),
        ),
        (
            Reason::TooOld,
            server().set(|settings| settings.max_token_age = Some(Span::from_seconds(60))),
            token().claim("iat", now - 60).text(),
        ),
        (Reason::NotYetValid, server(), token().claim("nbf", now + 1).text()),
        (Reason::AudienceNotConfigured, server().set(|settings| settings.audience = None), token().text()),
        (Reason::AudienceNotAccepted, server(), token().claim("aud", "another").text()),
        (Reason::ScopeMissing, server().set(|settings| settings.required_scope = Some("read admin")), token().text()),
        (
            Reason::TypeNotAccepted,
            server().set(|settings| settings.token_type = TokenType::Access),
            token().header("typ", "JWT").text(),
        ),
    ]
}

#[test]
fn each_reason_is_given_where_it_alone_applies() {
    let mut seen = HashSet::new();
    for (reason, mut server, token) in one_failure_each() {
        assert_eq!(server.verify(&token).unwrap_err(), reason);
        let findings = server.explain(&token);
        assert_eq!(only_failure(&findings), Some(reason.check()), "{reason:?} {findings:?}");
        assert!(seen.insert(reason), "{reason:?} twice");
    }
    // What only the edge knows: NULL, settings that do not fit, and what the database decides about revocations,
    // logins and roles.
    seen.extend([
        Reason::TokenMissing,
        Reason::SettingsInvalid,
        Reason::LineIssuerNotConfigured,
        Reason::ServiceIssuerNotConfigured,
        Reason::LoginNameMissing,
        Reason::Revoked,
        Reason::AssumptionRevoked,
        Reason::LogoutRepeated,
        Reason::RoleNotAccepted,
        Reason::RoleReserved,
    ]);
    assert_eq!(seen, Reason::ALL.iter().copied().collect());
}

#[test]
fn details_are_sentences_and_texts_are_unique() {
    for (_, mut server, token) in one_failure_each() {
        let provider_less = server.explain(&token);
        for finding in provider_less.iter().filter(|finding| finding.ok != Some(true)) {
            let detail = finding.detail.as_deref().unwrap();
            assert!(detail.ends_with('.') && detail.starts_with(char::is_uppercase), "{detail}");
        }
    }
    let texts: HashSet<_> = Reason::ALL.iter().map(|reason| reason.text()).collect();
    assert_eq!(texts.len(), Reason::ALL.len());
}

#[test]
fn malformed_tokens_and_unavailable_servers_are_no_rejections() {
    for reason in Reason::ALL {
        let class = match reason.text() {
            text if text.starts_with("malformed") || text.starts_with("not ") || text.starts_with("duplicate") => {
                Class::Malformed
            }
            "token missing" | "token too large" => Class::Malformed,
            text if text.ends_with("configured") || text.ends_with("unavailable") => Class::Unavailable,
            "settings invalid" => Class::Unavailable,
            _ => Class::Rejected,
        };
        assert_eq!(reason.class(), class, "{reason:?}");
    }
}

#[test]
fn every_algorithm_is_accepted_with_its_key_and_refused_where_not_allowed() {
    let all = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
    let signers: [&'static Signer; 5] = [&OCT, &RSA, &P256, &P384, &ED25519];
    let mut count = 0;
    for signer in signers {
        for algorithm in signer.algorithms() {
            let token = Token::new(signer).header("alg", *algorithm).text();
            let mut server = Server::new(&signers).set(|settings| settings.allowed_algorithms = all);
            server.verify(&token).unwrap();
            let others = all.replace(algorithm, "").leak();
            let mut server = Server::new(&signers).set(|settings| settings.allowed_algorithms = others);
            assert_eq!(server.verify(&token).unwrap_err(), Reason::AlgorithmNotAllowed, "{algorithm}");
            count += 1;
        }
    }
    assert_eq!(count, all.split(',').count());
}

#[test]
fn names_of_algorithms_are_exact() {
    for name in
        ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", " RS256", "RS256\u{0}", "ES521", "Ed448", "HS256"]
    {
        let token = Token::new(&RSA).header("alg", name).text();
        assert_eq!(Server::new(&[&RSA]).verify(token).unwrap_err(), Reason::AlgorithmNotAllowed, "{name:?}");
    }
}

#[test]
fn the_algorithm_is_judged_before_the_issuer_and_the_payload() {
    let mut server = Server::new(&[&RSA]);
    let token = Token::new(&RSA).header("alg", "none");
    assert_eq!(server.verify(token.clone().claim("iss", "x").text()).unwrap_err(), Reason::AlgorithmNotAllowed);
    assert_eq!(server.verify(token.text_of(b"no JSON")).unwrap_err(), Reason::AlgorithmNotAllowed);
    assert_eq!(server.keys.asked, 0);
}

#[test]
fn an_unsigned_token_is_refused_under_every_algorithm() {
    for algorithm in ["RS256", "PS512", "ES256", "EdDSA"] {
        let mut server = Server::new(&[&RSA, &P256, &ED25519]);
        let input = Token::new(&RSA).header("alg", algorithm).without_header("kid").text();
        let unsigned = &input[..=input.rfind('.').unwrap()];
        assert_eq!(server.verify(unsigned).unwrap_err(), Reason::SignatureInvalid, "{algorithm}");
    }
}

#[test]
fn all_zero_signatures_are_refused() {
    for signer in [&*P256, &P384, &ED25519, &RSA] {
        let token = Token::new(signer).text();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let zeros = format!("{input}.{}", base64url(&vec![0; signature.len() * 3 / 4]));
        assert_eq!(Server::new(&[signer]).verify(zeros).unwrap_err(), Reason::SignatureInvalid, "{}", signer.kid);
    }
}

#[test]
fn expiry_is_exact_to_the_microsecond() {
    let leeway = Span::from_seconds(30);
    for (exp, leeway, expires_at) in [
        (json!(now_seconds()), Span::ZERO, at(0)),
        (json!(now_seconds()), leeway, at(30_000_000)),
        (json!(now_seconds() as f64 + 0.5), Span::ZERO, at(500_000)),
        (json!(now_seconds() as f64 + 0.25), leeway, at(30_250_000)),
    ] {
        let mut server = Server::new(&[&RSA]).set(|settings| settings.leeway = leeway);
        let token = Token::new(&RSA).claim("exp", exp).without("nbf").without("iat").text();
        server.now = Timestamp::from_micros(expires_at.micros() - 1);
        let claims = server.verify(&token).unwrap();
        assert_eq!(claims.recheck(&mut server.keys, server.now), Ok(true));
        server.now = expires_at;
        assert_eq!(server.verify(&token).unwrap_err(), Reason::Expired);
        assert_eq!(claims.recheck(&mut server.keys, server.now).unwrap_err().reason, Reason::Expired);
    }
}

#[test]
fn not_before_and_issue_time_are_exact_to_the_microsecond() {
    for name in ["nbf", "iat"] {
        for (moment, leeway, valid_from) in [
            (json!(now_seconds()), 0, at(0)),
            (json!(now_seconds()), 30, at(-30_000_000)),
            (json!(now_seconds() as f64 + 0.75), 0, at(750_000)),
        ] {
            let mut server = Server::new(&[&RSA]).set(|settings| settings.leeway = Span::from_seconds(leeway));
            let token = Token::new(&RSA).without("nbf").without("iat").claim(name, moment).text();
            server.now = valid_from;
            let claims = server.verify(&token).unwrap();
            server.now = Timestamp::from_micros(valid_from.micros() - 1);
            assert_eq!(server.verify(&token).unwrap_err(), Reason::NotYetValid, "{name}");
            assert_eq!(claims.recheck(&mut server.keys, server.now).unwrap_err().reason, Reason::NotYetValid);
        }
    }
}

#[test]
fn the_age_of_a_token_is_exact_to_the_microsecond_and_needs_iat() {
    let mut server = Server::new(&[&RSA]).set(|settings| {
        settings.max_token_age = Some(Span::from_seconds(60));
        settings.leeway = Span::from_seconds(5);
    });
    let token = Token::new(&RSA);
    server.now = at(64_999_999);
    let claims = server.verify(token.text()).unwrap();
    server.now = at(65_000_000);
    assert_eq!(server.verify(token.text()).unwrap_err(), Reason::TooOld);
    assert_eq!(claims.recheck(&mut server.keys, server.now).unwrap_err().reason, Reason::TooOld);
    server.now = NOW;
    assert_eq!(server.verify(token.without("iat").text()).unwrap_err(), Reason::TooOld);
}

#[test]
fn times_that_are_no_times_are_malformed() {
    let mut server = Server::new(&[&RSA]);
    for name in ["exp", "nbf", "iat"] {
        for bad in [json!("1750000300"), json!(null), json!(true), json!([]), json!(-1), json!(1e300), json!(u64::MAX)]
        {
            let token = Token::new(&RSA).claim(name, bad.clone()).text();
            assert_eq!(server.verify(token).unwrap_err(), Reason::ClaimMalformed, "{name} {bad}");
        }
    }
    // Beyond a double: not JSON as far as any reader can tell.
    let token = Token::new(&RSA).text_of(br#"{"iss":"https://issuer.example","aud":"app","exp":1e999}"#);
    assert_eq!(server.verify(token).unwrap_err(), Reason::PayloadMalformed);
}

#[test]
fn subjects_and_audiences_have_their_types() {
    for (name, bad) in [
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!(["a"])),
        ("aud", json!(null)),
        ("aud", json!(1)),
        ("aud", json!({"app": true})),
        ("aud", json!(["app", 1])),
        ("aud", json!([["app"]])),
    ] {
        // Also where audiences are not checked.
        let mut server = Server::new(&[&RSA]).set(|settings| settings.audience = Some("*"));
        let token = Token::new(&RSA).claim(name, bad.clone()).text();
        assert_eq!(server.verify(token).unwrap_err(), Reason::ClaimMalformed, "{name} {bad}");
    }
    Server::new(&[&RSA]).verify(Token::new(&RSA).without("sub").text()).unwrap();
}

#[test]
fn audiences_compare_exactly() {
    let mut server = Server::new(&[&RSA]).set(|settings| settings.audience = Some("app, other app"));
    for (audience, accepted) in [
        (json!("app"), true),
        (json!(["x", "other app"]), true),
        (json!("App"), false),
        (json!("app "), false),
        (json!("app, other app"), false),
        (json!(["ap", "p"]), false),
        (json!("*"), false),
        (json!([]), false),
        (json!(""), false),
    ] {
        let outcome = server.verify(Token::new(&RSA).claim("aud", audience.clone()).text()).map(drop);
        assert_eq!(outcome, if accepted { Ok(()) } else { Err(Reason::AudienceNotAccepted) }, "{audience}");
    }
    assert_eq!(server.verify(Token::new(&RSA).without("aud").text()).unwrap_err(), Reason::AudienceNotAccepted);
}

#[test]
fn issuers_compare_exactly() {
    let mut server = Server::new(&[&RSA]);
    for bad in [
        json!("https://issuer.example/"),
        json!("HTTPS://ISSUER.EXAMPLE"),
        json!("https://issuer.example\u{0}"),
        json!("https://issuer.еxample"), // A Cyrillic letter.
        json!(["https://issuer.example"]),
        json!({"https://issuer.example": 1}),
        json!(null),
        json!(7),
        json!(""),
    ] {
        let token = Token::new(&RSA).claim("iss", bad.clone()).text();
        assert_eq!(server.verify(token).unwrap_err(), Reason::IssuerNotAccepted, "{bad}");
    }
    assert_eq!(server.verify(Token::new(&RSA).without("iss").text()).unwrap_err(), Reason::IssuerNotAccepted);
    assert_eq!(server.keys.asked + server.keys.fetches, 0, "the issuer comes before its keys");
}

#[test]
fn required_scopes_may_stand_in_either_claim() {
    let mut server = Server::new(&[&RSA]).set(|settings| settings.required_scope = Some("read write"));
    for (scope, scp, accepted) in [
        (json!("read write"), json!(null), true),
        (json!("read"), json!(["write"]), true),
        (json!(null), json!("write read"), true),
        (json!(["read", "write"]), json!(null), true),
        (json!("read"), json!(null), false),
        (json!("read write2"), json!(null), false),
        (json!("readwrite"), json!(["wri", "te"]), false),
        (json!("read\twrite"), json!(null), false),
        (json!({"read": 1, "write": 1}), json!(true), false),
    ] {
        let token = Token::new(&RSA).claim("scope", scope.clone()).claim("scp", scp).text();
        let outcome = server.verify(token).map(drop);
        assert_eq!(outcome, if accepted { Ok(()) } else { Err(Reason::ScopeMissing) }, "{scope}");
    }
}

#[test]
fn access_tokens_say_so() {
    let mut server = Server::new(&[&RSA]).set(|settings| settings.token_type = TokenType::Access);
    for (typ, accepted) in [
        ("at+jwt", true),
        ("AT+JWT", true),
        ("application/at+jwt", true),
        ("Application/At+Jwt", true),
        ("jwt", false),
        ("", false),
        ("application/application/at+jwt", false),
        ("x-at+jwt", false),
    ] {
        let outcome = server.verify(Token::new(&RSA).header("typ", typ).text()).map(drop);
        assert_eq!(outcome, if accepted { Ok(()) } else { Err(Reason::TypeNotAccepted) }, "{typ}");
    }
    let untyped = Token::new(&RSA).without_header("typ").text();
    assert_eq!(server.verify(&untyped).unwrap_err(), Reason::TypeNotAccepted);
    Server::new(&[&RSA]).verify(untyped).unwrap();
}

#[test]
fn claims_are_what_was_signed() {
    let payload = "{\"iss\":\"https://issuer.example\",\"aud\":\"app\",\"exp\":1750000300.5,\"name\":\"é😀\\u0000\"}";
    let claims = Server::new(&[&RSA]).verify(Token::new(&RSA).text_of(payload.as_bytes())).unwrap();
    assert!(claims.json().is_ascii());
    let read: Value = serde_json::from_str(claims.json()).unwrap();
    assert_eq!(read, serde_json::from_str::<Value>(payload).unwrap());
    assert_eq!(claims.text("name"), Some("é😀\0"));
    assert_eq!(claims.expires(), at(300_500_000));
}

#[test]
fn claims_know_the_keys_that_vouch_for_them() {
    let mut server = Server::new(&[&RSA]);
    let newer: std::sync::Arc<KeySet> = key_set(&[&RSA_OTHER]);
    server.keys.newer = Ok(Some(newer.clone()));
    let old = server.verify(Token::new(&RSA).text()).unwrap();
    let new = server.verify(Token::new(&RSA_OTHER).text()).unwrap();
    assert!(std::sync::Arc::ptr_eq(old.keys(), server.keys.current.as_ref().unwrap()));
    assert!(std::sync::Arc::ptr_eq(new.keys(), &newer));
}

#[test]
fn a_token_for_another_use_is_no_identity_whatever_token_type_says() {
    for other in ["logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", "entity-statement+jwt"] {
        for typ in [
            other.to_owned(),
            format!("application/{other}"),
            other.to_uppercase(),
            format!("Application/{}", other.to_uppercase()),
            format!("{other};charset=utf-8"),
            format!("application/{other} ; x=y"),
        ] {
            let token = Token::new(&RSA).header("typ", typ.as_str()).text();
            for token_type in [TokenType::Any, TokenType::Access] {
                let mut server = Server::new(&[&RSA]).set(|settings| settings.token_type = token_type);
                assert_eq!(server.verify(&token).unwrap_err(), Reason::TypeNotAccepted, "{typ}");
            }
        }
    }
    for typ in ["JWT", "jwt", "", "logout", "x-logout+jwt", "logout+jwt2", "id+jwt"] {
        Server::new(&[&RSA]).verify(Token::new(&RSA).header("typ", typ).text()).unwrap();
    }
}

/// Tokens of Amazon Cognito and of Clerk have no `aud`.
#[test]
fn the_first_claim_of_the_list_that_the_token_has_is_its_audience() {
    let mut server = Server::new(&[&RSA]).set(|settings| settings.audience_claim = "aud, client_id, ctx.azp");
    let without = || Token::new(&RSA).without("aud");
    for good in [
        Token::new(&RSA),
        without().claim("client_id", AUDIENCE),
        without().claim("client_id", json!([AUDIENCE, "x"])),
        without().claim("ctx", json!({ "azp": AUDIENCE })),
        Token::new(&RSA).claim("client_id", "another"),
    ] {
        server.verify(good.text()).unwrap();
    }
    for bad in [
        without(),
        without().claim("azp", AUDIENCE),
        without().claim("client_id", "another").claim("ctx", json!({ "azp": AUDIENCE })),
        without().claim("client_id", json!(null)).claim("ctx", json!({ "azp": AUDIENCE })),
        without().claim("client_id", json!({ "id": AUDIENCE })),
        Token::new(&RSA).claim("aud", "another").claim("client_id", AUDIENCE),
        Token::new(&RSA).claim("aud", json!([])).claim("client_id", AUDIENCE),
    ] {
        assert_eq!(server.verify(bad.text()).unwrap_err(), Reason::AudienceNotAccepted);
    }
    // Unless it is listed, `aud` does not count.
    let mut server = Server::new(&[&RSA]).set(|settings| settings.audience_claim = "client_id");
    assert_eq!(server.verify(Token::new(&RSA).text()).unwrap_err(), Reason::AudienceNotAccepted);
}
