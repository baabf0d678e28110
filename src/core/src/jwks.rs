//! Sets of keys: JWK Set documents (RFC 7517 §5) and PEM files.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, KeyType};
use crate::bounds::{MAX_DOCUMENT_BYTES, MAX_KEYS};
use crate::key::{Key, Material};

/// Where a document came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
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
    /// Its `kid`, where it has one.
    pub kid: Option<String>,
    /// Why.
    pub why: String,
}

impl KeySet {
    /// Parses a JWK Set or, where the text begins like one, PEM blocks. Keys that cannot be used are skipped; a
    /// document without a single usable key is an error, a full sentence.
    pub fn parse(document: &[u8], origin: Origin) -> Result<Self, String> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("The key document is larger than {MAX_DOCUMENT_BYTES} bytes."));
        }
        let candidates = if document.trim_ascii_start().starts_with(b"-----BEGIN ") {
            pem_keys(document)
        } else {
            jwk_keys(document, origin)?
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

    /// The keys to try for a token, those with its `kid` first. A key without a `kid` can serve any token, but only
    /// where it is the single one that fits (a PEM file has no `kid`).
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Candidates<'_> {
        let fitting = || self.keys.iter().filter(move |key| key.fits(algorithm));
        let named: Vec<_> = fitting().filter(|key| kid.is_some() && key.kid() == kid).collect();
        if !named.is_empty() {
            return Candidates::Named(named);
        }
        let mut unnamed = fitting().filter(|key| kid.is_none() || key.kid().is_none());
        match (unnamed.next(), unnamed.next()) {
            (None, _) => Candidates::None,
            (Some(key), None) => Candidates::Only(key),
            (Some(_), Some(_)) => Candidates::Ambiguous,
        }
    }
}

/// What a set offers for one token.
pub enum Candidates<'a> {
    /// Keys of the token's `kid`.
    Named(Vec<&'a Key>),
    /// The one key that fits a token or a set without `kid`.
    Only(&'a Key),
    /// Several keys fit and no `kid` tells them apart.
    Ambiguous,
    /// No key fits.
    None,
}

type Candidate = Result<Key, Skipped>;

fn jwk_keys(document: &[u8], origin: Origin) -> Result<Vec<Candidate>, String> {
    let set: Map<String, Value> =
        serde_json::from_slice(document).map_err(|_| "The key document is not a JSON object.".to_string())?;
    let keys = match set.get("keys") {
        Some(Value::Array(keys)) => keys.as_slice(),
        Some(_) => return Err("Member \"keys\" of the key document is not an array.".into()),
        // A single JWK is not a JWK Set, but it is what people paste.
        None if set.contains_key("kty") => &[Value::Object(set)],
        None => return Err("The key document has no member \"keys\".".into()),
    };
    if keys.len() > MAX_KEYS {
        return Err(format!("The key document has more than {MAX_KEYS} keys."));
    }
    Ok(keys.iter().map(|jwk| jwk_key(jwk, origin)).collect())
}

fn jwk_key(jwk: &Value, origin: Origin) -> Candidate {
    let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
    parse_jwk(jwk, kid.clone(), origin).map_err(|why| Skipped { kid, why })
}

fn parse_jwk(jwk: &Value, kid: Option<String>, origin: Origin) -> Result<Key, String> {
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
    if kty != "oct" && jwk.get("d").is_some() {
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
        ("oct", _) if origin == Origin::Network => return Err("shared secret from the network".into()),
        ("oct", _) => Material::Oct(number("k")?),
        _ => return Err("\"kty\" is not supported".into()),
    };
    Key::new(kid, algorithm, material)
}

/// The public keys of PEM blocks (RFC 7468 §13 and PKCS #1).
fn pem_keys(document: &[u8]) -> Vec<Candidate> {
    let text = String::from_utf8_lossy(document);
    let blocks = text.split_inclusive("-----END ").count().saturating_sub(1);
    let mut rest = text.as_ref();
    let mut keys = Vec::new();
    for _ in 0..blocks.min(MAX_KEYS) {
        let Some(start) = rest.find("-----BEGIN ") else { break };
        let Some(end) = rest[start..].find("-----END ").map(|at| start + at) else { break };
        let close = rest[end..].find('\n').map_or(rest.len(), |at| end + at);
        keys.push(pem_key(&rest[start..close]).map_err(|why| Skipped { kid: None, why }));
        rest = &rest[close..];
    }
    keys
}

fn pem_key(block: &str) -> Result<Key, String> {
    // Certificates are refused: their dates and names would have to be checked, and nothing here does.
    if !block.starts_with("-----BEGIN PUBLIC KEY-----") && !block.starts_with("-----BEGIN RSA PUBLIC KEY-----") {
        return Err("the PEM block is not a public key".into());
    }
    let pem = block.as_bytes();
    let decoding = DecodingKey::from_rsa_pem(pem)
        .or_else(|_| DecodingKey::from_ec_pem(pem))
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .map_err(|_| "the PEM block cannot be read")?;
    let jwk = Jwk::from_decoding_key(&decoding, None).map_err(|_| "the key in the PEM block is not supported")?;
    let number = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "the PEM block cannot be read".to_string());
    let material = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => Material::Rsa { n: number(&rsa.n)?, e: number(&rsa.e)? },
        AlgorithmParameters::EllipticCurve(ec) => {
            let curve = match ec.curve {
                EllipticCurve::P256 => KeyType::P256,
                EllipticCurve::P384 => KeyType::P384,
                _ => return Err("the curve in the PEM block is not supported".into()),
            };
            Material::Ec { curve, x: number(&ec.x)?, y: number(&ec.y)? }
        }
        AlgorithmParameters::OctetKeyPair(okp) => Material::Ed25519(number(&okp.x)?),
        _ => return Err("the key in the PEM block is not supported".into()),
    };
    Key::new(None, None, material)
}
