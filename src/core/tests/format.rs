//! The shape of a token: what is well-formed, to the byte.

mod common;

use common::*;
use pg_jwks_core::bounds::MAX_TOKEN_BYTES;
use pg_jwks_core::jose::token::Unverified;
use pg_jwks_core::redaction::has_token;
use pg_jwks_core::rejection::Reason;
use serde_json::json;

fn reason(token: impl AsRef<[u8]>) -> Reason {
    Server::new(&[&RSA]).verify(token).unwrap_err()
}

/// A signed token with this header, to the byte.
fn with_header(header: &[u8]) -> String {
    let payload = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":1750000300}}"#);
    common::compact(&RSA, "RS256", header, payload.as_bytes())
}

#[test]
fn a_token_has_three_parts() {
    for text in ["", ".", "a", "a.b", "eyJhbGciOiJSUzI1NiJ9", "a.b.c.d", "a.b.c.d.e", "....", "a..b.c"] {
        assert_eq!(reason(text), Reason::NotCompact, "{text}");
    }
    let token = Token::new(&RSA).text();
    assert_eq!(reason(format!("{token}.")), Reason::NotCompact);
    assert_eq!(reason(format!(".{token}")), Reason::NotCompact);
    assert_eq!(reason(".."), Reason::HeaderMalformed);
}

#[test]
fn base64url_is_strict() {
    let token = Token::new(&RSA).text();
    let parts: Vec<_> = token.split('.').collect();
    for part in 0..3 {
        for (add, why) in
            [("=", "padding"), ("==", "padding"), (" ", "space"), ("\n", "newline"), ("\0", "NUL"), ("é", "non-ASCII")]
        {
            for text in [format!("{}{add}", parts[part]), format!("{add}{}", parts[part])] {
                let mut changed = parts.clone();
                changed[part] = &text;
                assert_eq!(reason(changed.join(".")), Reason::NotBase64Url, "{why} in part {part}");
            }
        }
    }
    for bad in ['+', '/', '*', '~'] {
        assert_eq!(reason(token.replacen('e', &bad.to_string(), 1)), Reason::NotBase64Url, "{bad}");
    }
    assert_eq!(reason([token.as_bytes(), b"\xff"].concat()), Reason::NotBase64Url);
}

#[test]
fn each_signature_has_one_spelling() {
    // 64 bytes fill 86 characters, the last of which has four bits to spare.
    let token = Token::new(&ED25519).text();
    let mut server = Server::new(&[&ED25519]);
    server.verify(&token).unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for last in alphabet.chars().filter(|last| !token.ends_with(*last)) {
        let other = format!("{}{last}", &token[..token.len() - 1]);
        let reason = server.verify(other).unwrap_err();
        assert!([Reason::NotBase64Url, Reason::SignatureInvalid].contains(&reason), "{last} {reason:?}");
    }
}

#[test]
fn a_prefix_of_the_http_header_is_answered_with_a_hint() {
    let token = format!("Bearer {}", Token::new(&RSA).text());
    let rejection = Unverified::parse(token.as_bytes()).unwrap_err();
    assert_eq!(rejection.reason, Reason::NotBase64Url);
    assert!(rejection.hint.unwrap().contains("Bearer"));
}

#[test]
fn tokens_are_accepted_up_to_the_bound_and_no_byte_beyond() {
    let mut server = Server::new(&[&RSA]);
    // Each padding character adds at most two characters, so one of these lengths comes within two of the bound.
    let longest = (11_000..MAX_TOKEN_BYTES)
        .map(|pad| Token::new(&RSA).claim("pad", "x".repeat(pad)))
        .take_while(|token| token.text().len() <= MAX_TOKEN_BYTES)
        .last()
        .unwrap();
    assert!(longest.text().len() > MAX_TOKEN_BYTES - 3);
    server.verify(longest.text()).unwrap();
    assert_eq!(server.verify(vec![b'a'; MAX_TOKEN_BYTES]).unwrap_err(), Reason::NotCompact);
    assert_eq!(server.verify(vec![b'a'; MAX_TOKEN_BYTES + 1]).unwrap_err(), Reason::TokenTooLarge);
}

#[test]
fn headers_are_objects_with_unique_members_of_their_types() {
    for header in [
        &b""[..],
        b"null",
        b"[]",
        b"\"RS256\"",
        b"{}",
        b"{",
        br#"{"alg":"RS256"} x"#,
        br#"{"alg":null}"#,
        br#"{"alg":["RS256"]}"#,
        br#"{"alg":"RS256","alg":"RS256"}"#,
        br#"{"alg":"none","\u0061lg":"RS256"}"#,
        br#"{"alg":"RS256","kid":7}"#,
        br#"{"alg":"RS256","kid":null}"#,
        br#"{"alg":"RS256","typ":{}}"#,
        br#"{"alg":"RS256","x":1,"x":2}"#,
        b"{\"alg\":\"RS256\",\"x\":\"\xff\"}",
        b"\xef\xbb\xbf{\"alg\":\"RS256\"}",
        br#"{"alg":"RS256","x":"\ud800"}"#,
    ] {
        assert_eq!(reason(with_header(header)), Reason::HeaderMalformed, "{}", String::from_utf8_lossy(header));
    }
    Server::new(&[&RSA]).verify(with_header(b"{ \"alg\" :\r\n\t\"RS256\" } ")).unwrap();
}

#[test]
fn extensions_that_claim_to_be_critical_are_refused() {
    // RFC 7797 §6: a payload that is not base64url.
    for crit in [json!(["b64"]), json!([]), json!(null), json!("exp"), json!(["alg"])] {
        let token = Token::new(&RSA).header("crit", crit.clone()).header("b64", false).text();
        assert_eq!(reason(token), Reason::CriticalHeader, "{crit}");
    }
}

#[test]
fn deep_nesting_is_malformed_and_does_not_overflow() {
    for depth in [128, 4_000] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            reason(with_header(format!(r#"{{"alg":"RS256","x":{nested}}}"#).as_bytes())),
            Reason::HeaderMalformed
        );
        let payload = format!(r#"{{"iss":"{ISSUER}","x":{nested}}}"#);
        assert_eq!(reason(Token::new(&RSA).text_of(payload.as_bytes())), Reason::PayloadMalformed);
    }
}

#[test]
fn payloads_are_objects_with_unique_members() {
    for (payload, expected) in [
        (&b""[..], Reason::PayloadMalformed),
        (b"null", Reason::PayloadMalformed),
        (b"[{}]", Reason::PayloadMalformed),
        (b"{\"iss\":\"\xff\"}", Reason::PayloadMalformed),
        (br#"{"iss":"\ud800"}"#, Reason::PayloadMalformed),
        (br#"{"iss":"https://issuer.example",}"#, Reason::PayloadMalformed),
        (br#"{"iss":"https://issuer.example","sub":"a","sub":"a"}"#, Reason::DuplicateClaim),
        (br#"{"iss":"https://issuer.example","tenant":1,"ten\u0061nt":2}"#, Reason::DuplicateClaim),
    ] {
        assert_eq!(reason(Token::new(&RSA).text_of(payload)), expected, "{}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn a_token_that_can_be_accepted_is_one_that_the_log_filter_finds() {
    for space in [" ", "\n", "\r\n", "\t", "  \n"] {
        assert_eq!(reason(with_header(format!("{space}{{\"alg\":\"RS256\"}}").as_bytes())), Reason::HeaderMalformed);
        let token = with_header(format!("{{{space}\"alg\":\"RS256\"}}").as_bytes());
        Server::new(&[&RSA]).verify(&token).unwrap();
        assert!(has_token(token.as_bytes()), "{token}");
    }
}

#[test]
fn what_is_printed_of_an_unverified_token_is_nothing_of_it() {
    let token = Token::new(&RSA).text();
    let printed = format!("{:?}", Unverified::parse(token.as_bytes()).unwrap());
    for part in token.split('.').chain(["6ba7b810", RSA.kid]) {
        assert!(!printed.contains(part), "{printed}");
    }
}
