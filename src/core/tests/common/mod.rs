//! What the tests share: keys that sign, the tokens they make, and a server that trusts them.
#![allow(dead_code, unused_imports)] // Each test binary uses a part of it.

mod server;
mod signer;

pub use server::{AUDIENCE, ISSUER, NOW, Served, Server, key_set, key_set_of, only_failure};
pub use signer::{
    ED25519, OCT, P256, P256_OTHER, P384, P521, RSA, RSA_OTHER, SECP256K1, Signer, base64url, hmac_of, pem,
};

use serde_json::{Map, Value, json};

/// A token in the making. It starts out as one that [`Server::new`] accepts.
#[derive(Clone)]
pub struct Token {
    signer: &'static Signer,
    header: Map<String, Value>,
    payload: Map<String, Value>,
}

impl Token {
    /// A valid token, signed with the first algorithm of the signer.
    pub fn new(signer: &'static Signer) -> Self {
        let now = NOW.micros() / 1_000_000;
        let header = json!({"alg": signer.algorithms()[0], "kid": signer.kid, "typ": "at+jwt"});
        let payload = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "iat": now, "nbf": now, "exp": now + 300, "scope": "read write", "role": "editor",
        });
        let object = |value: Value| value.as_object().unwrap().clone();
        Self { signer, header: object(header), payload: object(payload) }
    }

    /// Sets a header parameter.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// Removes a header parameter.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.payload.insert(name.into(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.payload.remove(name);
        self
    }

    /// The compact serialization, signed with the algorithm that the header names, where it names one of the
    /// signer's, or else with the signer's first.
    pub fn text(&self) -> String {
        let payload = Value::from(self.payload.clone()).to_string();
        self.text_of(payload.as_bytes())
    }

    /// The same with this payload, to the byte.
    pub fn text_of(&self, payload: &[u8]) -> String {
        let own = self.signer.algorithms();
        let named = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let algorithm = own.iter().find(|own| **own == named).unwrap_or(&own[0]);
        let header = Value::from(self.header.clone()).to_string();
        compact(self.signer, algorithm, header.as_bytes(), payload)
    }
}

/// A token of this header and payload, to the byte.
pub fn compact(signer: &Signer, algorithm: &str, header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", base64url(header), base64url(payload));
    let signature = signer.sign(algorithm, input.as_bytes());
    format!("{input}.{}", base64url(&signature))
}
