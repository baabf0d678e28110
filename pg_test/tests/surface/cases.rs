//! For each reason to reject a token, one that fails only that check.

use std::sync::LazyLock;

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::{Alg, SigningKey, claims, claims_with, jwks, keys, now};
use serde_json::{Value, json};

pub const ISS: &str = "https://issuer.example";

pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::Es256, "k"));

/// A token and what becomes of it.
pub struct Case {
    /// The stable reason.
    pub reason: &'static str,
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// The check that fails.
    pub check: &'static str,
    /// Words of the DETAIL.
    pub words: &'static str,
    /// The token.
    pub token: String,
    /// Who is asked.
    pub app: App<'static>,
}

/// Good settings with these instead.
pub fn app(settings: &[(&str, &str)]) -> App<'static> {
    let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), ("jwks", &jwks(&[&KEY]).to_string())]);
    for (name, value) in settings {
        app.set(name, value);
    }
    app
}

/// Good claims with these instead; null ones are left out.
pub fn with(changes: Value) -> Value {
    let mut claims = claims_with(ISS, "alice", &changes);
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

/// A token of such claims.
pub fn signed(changes: Value) -> String {
    KEY.sign(&with(changes))
}

fn signed_raw(header: &str, payload: &str) -> String {
    KEY.sign_raw(header.as_bytes(), payload.as_bytes())
}

const HEADER: &str = r#"{"alg":"ES256","kid":"k"}"#;

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = of_tokens();
    cases.extend(of_settings());
    cases
}

/// The cases in which the token alone is to blame.
pub fn of_tokens() -> Vec<Case> {
    let good = claims(ISS, "alice").to_string();
    let other = SigningKey::generate(Alg::Es256, "k");
    let unknown = SigningKey::generate(Alg::Es256, "unknown");
    let duplicate = good.replacen('{', "{\"sub\":\"bob\",", 1);
    let signature_of_another = keys::compact(HEADER.as_bytes(), good.as_bytes(), &KEY.raw_sign(b"another text"));
    let malformed = "22023";
    let rejected = "28000";
    let rows: Vec<(&str, &str, &str, &str, String)> = vec![
        ("token too large", malformed, "format", "at most 65536 bytes", signed(json!({ "pad": "x".repeat(65_536) }))),
        ("not three parts", malformed, "format", "three parts", "one.two".into()),
        ("not three parts", malformed, "format", "three parts", format!("{}.four", signed(json!({})))),
        ("not three parts", malformed, "format", "three parts", String::new()),
        ("not base64url", malformed, "format", "base64url", signed(json!({})) + "="),
        ("not base64url", malformed, "format", "base64url", format!("Bearer {}", signed(json!({})))),
        ("malformed header", malformed, "format", "not a JSON object", signed_raw("[]", &good)),
        ("malformed header", malformed, "format", "no \"alg\"", signed_raw("{}", &good)),
        (
            "malformed header",
            malformed,
            "format",
            "\"kid\" is not a string",
            signed_raw(r#"{"alg":"ES256","kid":7}"#, &good),
        ),
        (
            "critical header not understood",
            rejected,
            "format",
            "\"crit\"",
            signed_raw(r#"{"alg":"ES256","crit":["exp"]}"#, &good),
        ),
        ("algorithm not allowed", rejected, "algorithm", "must be one of", signed_raw(r#"{"alg":"none"}"#, &good)),
        (
            "algorithm not allowed",
            rejected,
            "algorithm",
            "must be one of",
            signed_raw(r#"{"alg":"HS256","kid":"k"}"#, &good),
        ),
        ("issuer not accepted", rejected, "issuer", ISS, signed(json!({ "iss": "https://issuer.example/" }))),
        ("issuer not accepted", rejected, "issuer", ISS, signed(json!({ "iss": null }))),
        ("issuer not accepted", rejected, "issuer", ISS, signed(json!({ "iss": [ISS] }))),
        ("key unknown", rejected, "key", "for ES256", unknown.sign(&with(json!({})))),
        ("signature invalid", rejected, "signature", "not made by the issuer's key", other.sign(&with(json!({})))),
        ("signature invalid", rejected, "signature", "not made by the issuer's key", signature_of_another),
        ("malformed payload", malformed, "claims", "not a JSON object", signed_raw(HEADER, "[1]")),
        ("duplicate claim", malformed, "claims", "twice", signed_raw(HEADER, &duplicate)),
        ("malformed claim", malformed, "claims", "\"sub\"", signed(json!({ "sub": 7 }))),
        ("malformed claim", malformed, "claims", "\"aud\"", signed(json!({ "aud": ["app", 7] }))),
        ("malformed claim", malformed, "claims", "\"exp\"", signed(json!({ "exp": "tomorrow" }))),
        ("malformed claim", malformed, "claims", "\"nbf\"", signed(json!({ "nbf": -1 }))),
        ("expiry missing", rejected, "expiry", "\"exp\" is required", signed(json!({ "exp": null }))),
        ("token expired", rejected, "expiry", "The token expired 1", signed(json!({ "exp": now() - 100 }))),
        ("token not yet valid", rejected, "not_before", "\"nbf\" is ahead", signed(json!({ "nbf": now() + 100 }))),
        ("token not yet valid", rejected, "not_before", "\"iat\" is ahead", signed(json!({ "iat": now() + 100 }))),
        ("audience not accepted", rejected, "audience", "\"app\"", signed(json!({ "aud": "shop" }))),
        ("audience not accepted", rejected, "audience", "\"app\"", signed(json!({ "aud": null }))),
        ("audience not accepted", rejected, "audience", "\"app\"", signed(json!({ "aud": [] }))),
    ];
    let rows = rows.into_iter();
    rows.map(|(reason, sqlstate, check, words, token)| Case { reason, sqlstate, check, words, token, app: app(&[]) })
        .collect()
}

fn of_settings() -> Vec<Case> {
    let strangers: Vec<_> = (0..9).map(|_| SigningKey::generate(Alg::Es256, "stranger")).collect();
    let nameless = KEY.sign_with(&json!({ "alg": "ES256" }), &claims(ISS, "alice"));
    let nine_strangers = jwks(&strangers.iter().collect::<Vec<_>>()).to_string();
    let good = || signed(json!({}));
    let unreachable = [("jwks", ""), ("jwks_uri", "http://127.0.0.1:1/")];
    let (rejected, unavailable) = ("28000", "55000");
    [
        ("no issuer configured", unavailable, "issuer", "No issuer is trusted", good(), [("issuer", "")].as_slice()),
        (
            "no key source configured",
            unavailable,
            "key",
            "not a URL",
            signed(json!({ "iss": "me" })),
            &[("issuer", "me"), ("jwks", "")],
        ),
        ("keys unavailable", unavailable, "key", "Connection refused", good(), &unreachable),
        ("no audience configured", unavailable, "audience", "Without an audience", good(), &[("audience", "")]),
        ("key ambiguous", rejected, "key", "none of the first 8", nameless, &[("jwks", &nine_strangers)]),
        (
            "algorithm not allowed",
            rejected,
            "algorithm",
            "must be one of RS256.",
            good(),
            &[("allowed_algorithms", "RS256")],
        ),
        ("token valid too long", rejected, "expiry", "at most 60 s ahead", good(), &[("max_token_lifetime", "1min")]),
        (
            "token too old",
            rejected,
            "expiry",
            "at most 60 s",
            signed(json!({ "iat": now() - 200 })),
            &[("max_token_age", "1min")],
        ),
        (
            "token too old",
            rejected,
            "expiry",
            "must be present",
            signed(json!({ "iat": null })),
            &[("max_token_age", "1min")],
        ),
        (
            "scope missing",
            rejected,
            "scope",
            "\"write\"",
            signed(json!({ "scope": "read" })),
            &[("required_scope", "read write")],
        ),
        ("token type not accepted", rejected, "type", "\"at+jwt\"", good(), &[("token_type", "access")]),
        (
            "required claim missing",
            rejected,
            "claims_required",
            "Claim \"hd\" must be \"example.com\"",
            signed(json!({ "hd": "elsewhere.example" })),
            &[("required_claims", r#"{"hd": "example.com"}"#)],
        ),
    ]
    .into_iter()
    .map(|(reason, sqlstate, check, words, token, settings)| Case {
        reason,
        sqlstate,
        check,
        words,
        token,
        app: app(settings),
    })
    .collect()
}
