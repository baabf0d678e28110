//! What the log says of the origin of a token that was refused.

mod common;

use common::{ED25519, Token};
use pg_jwks_core::jose::presented::Presented;
use serde_json::{Value, json};

fn presented(token: &str) -> Value {
    Presented::of(token.as_bytes()).members().into()
}

#[test]
fn a_token_says_its_issuer_audience_and_key_and_nothing_else() {
    let token =
        Token::new(&ED25519).claim("iss", "https://a.example").claim("aud", "app").claim("email", "a@b.example");
    let expected = json!({ "iss": "https://a.example", "aud": ["app"], "kid": "ed25519" });
    assert_eq!(presented(&token.text()), expected);
}

#[test]
fn members_of_other_types_are_left_out() {
    let token =
        Token::new(&ED25519).claim("iss", 7).claim("aud", json!(["a", 7, null, ["b"], "c"])).without_header("kid");
    assert_eq!(presented(&token.text()), json!({ "aud": ["a", "c"] }));
}

#[test]
fn a_malformed_token_says_nothing() {
    for token in ["", "a.b.c", "nonsense", "e30.e30.e30"] {
        assert_eq!(presented(token), json!({}), "{token}");
    }
    assert_eq!(presented(&Token::new(&ED25519).text_of(b"no JSON")), json!({ "kid": "ed25519" }));
}

#[test]
fn what_it_says_is_short() {
    let long = "é".repeat(250);
    let many: Vec<_> = (0..12).map(|_| long.clone()).collect();
    let token = Token::new(&ED25519).claim("iss", long.clone()).claim("aud", many).header("kid", long);
    let said = Presented::of(token.text().as_bytes());
    assert_eq!(said.iss.as_deref(), Some(&*format!("{}\u{2026}", "é".repeat(200))));
    assert_eq!(said.aud.len(), 8);
    assert_eq!(said.kid, said.iss);
}
