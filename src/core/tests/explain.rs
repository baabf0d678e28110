//! `auth.jwt_explain`: one row a check, in order, and of the token only its origin and kind in any of them.

mod common;

use common::*;
use pg_jwks_core::policy::provider::TokenType;
use pg_jwks_core::rejection::{Check, Reason, Rejection};
use pg_jwks_core::time::Span;
use pg_jwks_core::verification::explain::Finding;
use proptest::prelude::*;
use serde_json::json;

/// The checks as `auth.jwt_explain` names and orders them.
const NAMES: [&str; 14] = [
    "format",
    "algorithm",
    "issuer",
    "key",
    "signature",
    "claims",
    "expiry",
    "not_before",
    "audience",
    "scope",
    "type",
    "claims_required",
    "revocation",
    "role",
];

/// The outcomes as letters: `y`es, `n`o, `-` for unreached.
fn outcomes(findings: &[Finding]) -> String {
    let names: Vec<_> = findings.iter().map(|finding| finding.check.name()).collect();
    assert_eq!(names, NAMES);
    for finding in findings {
        assert_eq!(finding.detail.is_none(), finding.ok == Some(true), "{finding:?}");
    }
    findings.iter().map(|finding| finding.ok.map_or('-', |ok| if ok { 'y' } else { 'n' })).collect()
}

fn explained(server: &mut Server, token: &str) -> String {
    outcomes(&server.explain(token))
}

fn detail(server: &mut Server, token: &str, check: Check) -> String {
    server.explain(token).into_iter().find(|finding| finding.check == check).unwrap().detail.unwrap()
}

#[test]
fn a_good_token_has_good_rows_only() {
    assert_eq!(explained(&mut Server::new(&[&RSA]), &Token::new(&RSA).text()), "yyyyyyyyyyyyyy");
}

#[test]
fn what_cannot_be_reached_is_null() {
    let mut server = Server::new(&[&RSA]);
    let token = Token::new(&RSA);
    for (text, expected) in [
        ("no token".to_string(), "n-------------"),
        (token.clone().header("crit", json!([])).text(), "n-------------"),
        (token.clone().header("alg", "none").text(), "yny--yyyyyyyyy"),
        (token.clone().header("alg", "HS256").text(), "yny--yyyyyyyyy"),
        (token.clone().claim("iss", "x").text(), "yyn-----------"),
        (token.clone().claim("iss", "x").header("alg", "none").text(), "ynn-----------"),
        (token.clone().header("kid", "x").text(), "yyyn-yyyyyyyyy"),
        (token.clone().without("exp").text(), "yyyyyynyyyyyyy"),
        (token.clone().claim("aud", 1).text(), "yyyyynyynyyyyy"),
    ] {
        assert_eq!(explained(&mut server, &text), expected, "{text}");
    }
    server.keys.current = Err(Rejection::new(Reason::KeysUnavailable, "Keys could not be had."));
    assert_eq!(explained(&mut server, &token.text()), "yyyn-yyyyyyyyy");
    let mut unconfigured = server.set(|settings| settings.issuer = None);
    assert_eq!(explained(&mut unconfigured, &token.text()), "y-n-----------");
    assert_eq!(explained(&mut unconfigured, &token.text_of(b"[]")), "y-n--n--------");
}

#[test]
fn the_signature_speaks_for_itself() {
    let mut server = Server::new(&[&RSA]).set(|settings| {
        settings.audience = Some("another");
        settings.required_scope = Some("admin");
        settings.token_type = TokenType::Access;
    });
    let all_wrong =
        Token::new(&RSA).claim("sub", 1).claim("exp", 1).claim("nbf", 9_999_999_999_i64).header("typ", "JWT");
    assert_eq!(explained(&mut server, &all_wrong.text()), "yyyyynnnnnnyyy");
    let mut server = Server::new(&[&RSA]).set(|settings| settings.required_claims = Some(r#"{"role": "admin"}"#));
    assert_eq!(explained(&mut server, &Token::new(&RSA).text()), "yyyyyyyyyyynyy");
    let told = server.explain(Token::new(&RSA).text()).into_iter().find(|finding| finding.ok == Some(false));
    let told = told.and_then(|finding| finding.detail).unwrap();
    // What the token has is not told: it is another claim than those of its origin.
    assert_eq!(told, "Claim \"role\" must be \"admin\".");
    let forged = Token::new(&RSA_OTHER).header("kid", RSA.kid);
    assert_eq!(explained(&mut Server::new(&[&RSA]), &forged.text()), "yyyynyyyyyyyyy");
}

#[test]
fn the_signature_over_a_payload_that_is_no_object_is_judged_where_the_issuer_is_beyond_doubt() {
    for payload in [&b"Example of signing"[..], b"[]", b"7", b"", b"{\"iss\":1,\"iss\":1}"] {
        let signed = Token::new(&RSA).text_of(payload);
        let forged = Token::new(&RSA_OTHER).header("kid", RSA.kid).text_of(payload);
        let mut one = Server::new(&[&RSA]);
        assert_eq!(explained(&mut one, &signed), "yy-yyn--------");
        assert_eq!(explained(&mut one, &forged), "yy-ynn--------");
        // With two issuers it could be either's, and asking both would be two fetches for a malformed token.
        let mut two = Server::new(&[&RSA]).set(|settings| settings.issuer = Some("a, b"));
        assert_eq!(explained(&mut two, &signed), "yy---n--------");
        assert_eq!(two.keys.asked, 0);
    }
}

#[test]
fn details_say_what_was_expected() {
    let mut server = Server::new(&[&RSA]).set(|settings| {
        settings.issuer = Some("https://issuer.example, b");
        settings.audience = Some("app, other");
        settings.leeway = Span::from_seconds(30);
        settings.allowed_algorithms = "RS256, ES256";
    });
    let token = Token::new(&RSA);
    for (token, check, expected) in [
        (
            token.clone().claim("iss", "x"),
            Check::Issuer,
            "Claim \"iss\" must be exactly \"https://issuer.example\" or \"b\". The token has \"x\".",
        ),
        (
            token.clone().claim("aud", "x"),
            Check::Audience,
            "Claim \"aud\" must have \"app\" or \"other\". The token has \"x\".",
        ),
        (
            token.clone().header("alg", "x"),
            Check::Algorithm,
            "Header parameter \"alg\" must be one of RS256, ES256. The token has \"x\".",
        ),
        (
            token.clone().claim("exp", 1_749_999_900),
            Check::Expiry,
            "The token expired 100 s ago; the allowed clock skew is 30 s.",
        ),
        (
            token.clone().claim("nbf", 1_750_000_031),
            Check::NotBefore,
            "Claim \"nbf\" is ahead of the server's clock by more than 30 s. Compare the clocks of the issuer and of \
             the database server.",
        ),
    ] {
        assert_eq!(detail(&mut server, &token.text(), check), expected);
    }
    server.settings.audience = None;
    assert_eq!(
        detail(&mut server, &token.text(), Check::Audience),
        "Without an audience, tokens that were issued for other applications would be accepted. Set pg_jwks.audience \
         to the \"aud\" of your tokens, or to '*' to accept any."
    );
}

#[test]
fn explaining_asks_for_keys_as_verifying_does() {
    let mut server = Server::new(&[&RSA]);
    server.explain(Token::new(&RSA_OTHER).text());
    assert_eq!((server.keys.asked, server.keys.fetches), (1, 1));
    server.keys.newer = Ok(Some(key_set(&[&RSA_OTHER])));
    assert_eq!(explained(&mut server, &Token::new(&RSA_OTHER).text()), "yyyyyyyyyyyyyy");
}

/// Texts that no message of the core has in it.
fn secret() -> impl Strategy<Value = String> {
    "[0-9]{3}[XZ]{3,12}[a-z0-9<>&'\\\\ -]{0,20}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_of_the_token_but_its_origin_and_kind_is_in_any_detail(
        names in prop::collection::vec(secret(), 12),
        replaced in prop::collection::vec(any::<bool>(), 9),
        audience_is_list in any::<bool>(),
        payload_is_text in prop::bool::weighted(0.1),
        own_key in any::<bool>(),
    ) {
        let mut token = Token::new(if own_key { &RSA } else { &RSA_OTHER })
            .claim(&names[0], names[1].as_str())
            .header(&names[10], names[11].as_str());
        let aud = if audience_is_list { json!([names[3]]) } else { json!(names[3]) };
        let changes = [("iss", json!(names[2])), ("aud", aud), ("sub", json!([names[4]])), ("exp", json!(names[5])),
                       ("scope", json!(names[6])), ("nbf", json!(9_173_548_612_i64))];
        for ((name, value), _) in changes.into_iter().zip(&replaced).filter(|(_, replaced)| **replaced) {
            token = token.claim(name, value);
        }
        for (index, name) in ["kid", "alg", "typ"].into_iter().enumerate().filter(|(index, _)| replaced[6 + index]) {
            token = token.header(name, names[7 + index].as_str());
        }
        let text = if payload_is_text { token.text_of(names[0].as_bytes()) } else { token.text() };
        let mut server = Server::new(&[&RSA]).set(|settings| {
            settings.required_scope = Some("admin");
            settings.token_type = TokenType::Access;
        });
        let findings = server.explain(&text);
        outcomes(&findings);
        // Details may have `iss`, `aud`, `kid`, `alg` and `typ`.
        let other = |index: &usize| ![2, 3, 7, 8, 9].contains(index);
        let mut forbidden: Vec<&str> = (0..names.len()).filter(other).map(|index| names[index].as_str()).collect();
        forbidden.extend(text.split('.').filter(|part| part.len() > 8));
        forbidden.extend(["9173548612", "6ba7b810", "editor", "nobody"]);
        for finding in &findings {
            let detail = finding.detail.as_deref().unwrap_or_default();
            for part in &forbidden {
                prop_assert!(!detail.contains(part), "{} in {}", part, detail);
            }
        }
        prop_assert!(findings.len() == NAMES.len());
    }
}

#[test]
fn details_without_settings_have_the_values_of_the_token_only() {
    let mut server = Server::new(&[&RSA]).set(|settings| {
        settings.issuer = Some("https://issuer.example, https://partner.example");
        settings.audience = Some("app, other");
        settings.required_scope = Some("hidden");
        settings.allowed_algorithms = "RS256, ES256";
        settings.token_type = TokenType::Access;
    });
    let token = Token::new(&RSA);
    for (token, check, expected) in [
        (
            token.clone().claim("iss", "x"),
            Check::Issuer,
            "Claim \"iss\" is not that of a trusted issuer. The token has \"x\".",
        ),
        (
            token.clone().without("iss"),
            Check::Issuer,
            "Claim \"iss\" is not that of a trusted issuer. The token has none.",
        ),
        (
            token.clone().claim("aud", json!(["x", "y"])),
            Check::Audience,
            "Claim \"aud\" has no accepted audience. The token has \"x\", \"y\".",
        ),
        (token.clone(), Check::Scope, "The token must carry another scope."),
        (
            token.clone().header("alg", "none"),
            Check::Algorithm,
            "Header parameter \"alg\" is not an allowed algorithm. The token has \"none\".",
        ),
        (
            token.clone().header("typ", "\u{e9}\n"),
            Check::Type,
            "Header parameter \"typ\" is not that of an accepted kind of token. The token has \"\\u00e9\\n\".",
        ),
    ] {
        let findings = server.explain(token.text());
        let finding = findings.into_iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(finding.without_settings().detail.as_deref(), Some(expected));
    }
}
