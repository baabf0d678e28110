//! What providers serve and sign, by their documentation: one file a provider, with keys of the tests' own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pg_test::keys::{base64url, pem};
use pg_test::{Alg, SigningKey, now};
use serde_json::{Map, Value, json};

/// A provider.
pub struct Documented {
    /// The heading of its settings.
    pub name: String,
    /// What it serves, by URL.
    pub served: BTreeMap<String, Served>,
    pub tokens: Vec<Token>,
}

/// A document.
pub struct Served {
    pub headers: Map<String, Value>,
    pub body: String,
    /// Whether a client must show a token.
    pub is_authorized: bool,
}

/// A token, and what becomes of it.
pub struct Token {
    pub what: String,
    pub text: String,
    pub expected: Expected,
}

pub enum Expected {
    /// It is accepted, and is this user's, with these roles, of this tenant if tokens have one.
    Identity { user: Option<String>, roles: Vec<String>, tenant: Option<String> },
    /// It is refused for this reason.
    Refused(String),
}

/// All of them, in the order of their files.
pub fn all() -> Vec<Documented> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers/documents");
    let files = fs::read_dir(folder).expect("the folder of documents");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| read(&fs::read_to_string(path).expect("a file"))).collect()
}

fn read(text: &str) -> Documented {
    let file: Value = serde_json::from_str(text).expect("a file of documents");
    let mut keys = Keys::default();
    let documents = file["documents"].as_object().expect("documents");
    let served = documents.iter().map(|(url, document)| {
        let served = Served {
            headers: document["headers"].as_object().expect("headers").clone(),
            body: keys.filled(&document["body"]).to_string(),
            is_authorized: document["authorized"] == true,
        };
        (url.clone(), served)
    });
    let served = served.collect();
    let tokens = file["tokens"].as_array().expect("tokens").iter().map(|token| keys.token(token)).collect();
    Documented { name: text_of(&file["name"]), served, tokens }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// The keys of one provider, by `kid`.
#[derive(Default)]
struct Keys(BTreeMap<String, SigningKey>);

impl Keys {
    /// A document with what the keys have in place of what is empty there.
    fn filled(&mut self, body: &Value) -> Value {
        let mut body = body.clone();
        for jwk in body.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
            self.fill(jwk);
        }
        for (kid, value) in body.as_object_mut().expect("an object").iter_mut() {
            if *value == "<certificate>" {
                *value = pem("CERTIFICATE", &self.key(kid, Alg::Rs256).certificate()).into();
            }
        }
        body
    }

    fn fill(&mut self, jwk: &mut Value) {
        let alg = match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
            (Some("RSA"), _) => Alg::Rs256,
            (Some("EC"), Some("P-256")) => Alg::Es256,
            (Some("OKP"), Some("Ed25519")) => Alg::EdDsa,
            other => panic!("no keys of {other:?}"),
        };
        let key = self.key(jwk["kid"].as_str().expect("a kid"), alg);
        let own = key.public_jwk();
        let certificate = if alg == Alg::Rs256 { key.certificate() } else { Vec::new() };
        for (name, value) in jwk.as_object_mut().expect("a key") {
            match name.as_str() {
                "n" | "e" | "x" | "y" => *value = own[name.as_str()].clone(),
                "x5c" => *value = json!([STANDARD.encode(&certificate)]),
                "x5t" => *value = base64url(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate).as_ref()).into(),
                "x5t#S256" => *value = base64url(digest(&SHA256, &certificate).as_ref()).into(),
                _ => {}
            }
        }
    }

    fn key(&mut self, kid: &str, alg: Alg) -> &SigningKey {
        self.0.entry(kid.to_owned()).or_insert_with(|| SigningKey::generate(alg, kid))
    }

    fn token(&mut self, token: &Value) -> Token {
        let header = &token["header"];
        let alg = Alg::ALL.into_iter().find(|alg| header["alg"] == alg.name()).expect("an algorithm");
        let mut claims = token["claims"].clone();
        for name in ["iat", "exp", "nbf", "auth_time"] {
            if let Some(moment) = claims.get_mut(name) {
                *moment = moment_of(moment);
            }
        }
        let key = self.key(header["kid"].as_str().unwrap_or_default(), alg);
        let expected = match token.get("refused") {
            Some(reason) => Expected::Refused(text_of(reason)),
            None => Expected::Identity {
                user: token["user"].as_str().map(str::to_owned),
                roles: token["roles"].as_array().expect("roles").iter().map(text_of).collect(),
                tenant: token["tenant"].as_str().map(str::to_owned),
            },
        };
        Token { what: text_of(&token["what"]), text: key.sign_with(header, &claims), expected }
    }
}

/// `now`, or so many seconds from it.
fn moment_of(moment: &Value) -> Value {
    let text = moment.as_str().and_then(|text| text.strip_prefix("now")).unwrap_or_else(|| panic!("{moment}"));
    let seconds: i64 = if text.is_empty() { 0 } else { text.parse().expect("seconds") };
    (now() + seconds).into()
}
