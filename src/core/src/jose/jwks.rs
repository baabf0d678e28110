//! Sets of keys: JWK Set documents (RFC 7517 §5) and PEM files.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::bounds::{MAX_DOCUMENT_BYTES, MAX_KEYS};
use crate::jose::algorithm::{Algorithm, KeyType};
use crate::jose::key::{Key, Material};
use crate::jose::pem;

/// How far a key document is trusted, by where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// From the network: public keys only.
    Network,
    /// From a setting or a file of the server: shared secrets are possible.
    Local,
}

/// The usable keys of one document, and why the others are not.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<Skipped>,
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// Why.
    pub why: String,
}

impl KeySet {
    /// Parses PEM blocks if the text begins like one, or else a JWK Set. Keys that cannot be used are skipped. A
    /// document beyond the bounds or without a single usable key is an error, a full sentence.
    pub fn parse(document: &[u8], trust: Trust) -> Result<Self, String> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("The key document is larger than {MAX_DOCUMENT_BYTES} bytes."));
        }
        let candidates = if document.trim_ascii_start().starts_with(b"-----BEGIN ") {
            pem_keys(document)?
        } else {
            jwk_keys(document, trust)?
        };
        let mut set = Self { keys: Vec::new(), skipped: Vec::new() };
        for candidate in candidates {
            match candidate {
                Ok(key) => set.keys.push(key),
                Err(skipped) => set.skipped.push(skipped),
            }
        }
        match (set.keys.is_empty(), set.skipped.first()) {
            (false, _) => Ok(set),
            (true, None) => Err("The key document has no keys.".into()),
            (true, Some(first)) => {
                Err(format!("None of the {} keys can be used; the first because: {}.", set.skipped.len(), first.why))
            }
        }
    }

    /// The usable keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The keys that were left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether a usable key has this `kid`.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// The keys to try for a token: those with its `kid`, if there are any. Otherwise a key without a `kid` can serve
    /// any token (a PEM file has no `kid`), and any key that fits can serve a token without one.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Candidates<'_> {
        let fitting = || self.keys.iter().filter(move |key| key.fits(algorithm));
        let named: Vec<_> = fitting().filter(|key| kid.is_some() && key.kid() == kid).collect();
        if !named.is_empty() {
            return Candidates::Named(named);
        }
        Candidates::Unnamed(fitting().filter(|key| kid.is_none() || key.kid().is_none()).collect())
    }
}

/// What a set offers for one token.
pub enum Candidates<'a> {
    /// Keys of the token's `kid`.
    Named(Vec<&'a Key>),
    /// Keys that fit, and that no `kid` tells apart; there may be none.
    Unnamed(Vec<&'a Key>),
}

type Candidate = Result<Key, Skipped>;

fn jwk_keys(document: &[u8], trust: Trust) -> Result<Vec<Candidate>, String> {
    let set: Map<String, Value> =
        serde_json::from_slice(document).map_err(|_| "The key document is not a JSON object.".to_string())?;
    let keys = match set.get("keys") {
        Some(Value::Array(keys)) => keys.as_slice(),
        Some(_) => return Err("Member \"keys\" of the key document is not an array.".into()),
        // A single JWK is not a JWK Set, but it is what people paste.
        None if set.contains_key("kty") => &[Value::Object(set)],
        None => return Err("The key document has no member \"keys\".".into()),
    };
    check_count(keys.len())?;
    Ok(keys.iter().map(|jwk| jwk_key(jwk, trust)).collect())
}

fn check_count(keys: usize) -> Result<(), String> {
    match keys > MAX_KEYS {
        true => Err(format!("The key document has more than {MAX_KEYS} keys.")),
        false => Ok(()),
    }
}

fn jwk_key(jwk: &Value, trust: Trust) -> Candidate {
    let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
    parse_jwk(jwk, kid.clone(), trust).map_err(|why| Skipped { kid, why })
}

/// RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2. Each factor of an RSA modulus gives away the whole key.
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

fn parse_jwk(jwk: &Value, kid: Option<String>, trust: Trust) -> Result<Key, String> {
    if jwk.get("kid").is_some_and(|kid| !kid.is_string()) {
        return Err("\"kid\" is not a string".into());
    }
    if jwk.get("use").is_some_and(|usage| usage != "sig") {
        return Err("\"use\" is not \"sig\"".into());
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verifies = operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"));
        if !verifies {
            return Err("\"key_ops\" does not have \"verify\"".into());
        }
    }
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(name) => {
            Some(name.as_str().and_then(|name| name.parse().ok()).ok_or("\"alg\" is not a supported algorithm")?)
        }
    };
    let kty = jwk.get("kty").and_then(Value::as_str).ok_or("no \"kty\"")?;
    if kty != "oct" && PRIVATE_MEMBERS.iter().any(|member| jwk.get(member).is_some()) {
        return Err("the private key is published with it".into());
    }
    let number = |member: &str| -> Result<Vec<u8>, String> {
        let text = jwk.get(member).and_then(Value::as_str).ok_or(format!("no \"{member}\""))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("\"{member}\" is not base64url"))
    };
    let curve = jwk.get("crv").and_then(Value::as_str);
    let material = match (kty, curve) {
        ("RSA", _) => Material::Rsa { n: number("n")?, e: number("e")? },
        ("EC", Some("P-256")) => Material::Ec { curve: KeyType::P256, x: number("x")?, y: number("y")? },
        ("EC", Some("P-384")) => Material::Ec { curve: KeyType::P384, x: number("x")?, y: number("y")? },
        ("OKP", Some("Ed25519")) => Material::Ed25519(number("x")?),
        ("EC" | "OKP", _) => return Err("\"crv\" is not supported".into()),
        // A shared secret that came over the network is known to whoever can read the JWKS.
        ("oct", _) if trust == Trust::Network => return Err("shared secret from the network".into()),
        ("oct", _) => Material::Oct(number("k")?),
        _ => return Err("\"kty\" is not supported".into()),
    };
    Key::new(kid, algorithm, material)
}

fn pem_keys(document: &[u8]) -> Result<Vec<Candidate>, String> {
    let text = String::from_utf8_lossy(document);
    check_count(pem::blocks(&text).count())?;
    let key = |block| pem::material(block).and_then(|material| Key::new(None, None, material));
    Ok(pem::blocks(&text).map(|block| key(block).map_err(|why| Skipped { kid: None, why })).collect())
}
