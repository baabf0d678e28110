//! Sets of keys: JWK Set documents (RFC 7517 §5), PEM files, and maps of certificates.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::bounds::{MAX_DOCUMENT_BYTES, MAX_KEYS};
use crate::jose::algorithm::{Algorithm, KeyType};
use crate::jose::der::{self, PublicKey};
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
    /// Parses PEM blocks if the text begins like one, or else a JWK Set or a map of certificates. Keys that cannot be used
    /// are skipped. A document beyond the bounds or without a single usable key is an error, a full sentence.
    pub fn parse(document: &[u8], trust: Trust) -> Result<Self, String> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("The key document is larger than {MAX_DOCUMENT_BYTES} bytes."));
        }
        let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
        let candidates = match pem::is_pem(document) {
            true => pem_keys(document)?,
            false => json_keys(document, trust)?,
        };
        let (mut usable, mut skipped) = (Vec::new(), Vec::new());
        for candidate in candidates {
            match candidate {
                Ok(key) => usable.push(key),
                Err(key) => skipped.push(key),
            }
        }
        skipped.extend(beyond_the_bound(&mut usable));
        let set = Self { keys: usable.into_iter().map(|dated| dated.key).collect(), skipped };
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

    /// Whether one of them is a shared secret.
    pub fn has_secret(&self) -> bool {
        self.keys.iter().any(|key| key.key_type() == KeyType::Oct)
    }

    /// Whether a usable key has this name.
    pub fn knows(&self, name: KeyName) -> bool {
        self.keys.iter().any(|key| name.is_of(key))
    }

    /// The keys to try for a token: those that it names, if there are any. Otherwise a key without a name can serve any token
    /// (a PEM file has no `kid`), and any key that fits can serve a token that names none.
    pub fn candidates(&self, name: KeyName, algorithm: Algorithm) -> Candidates<'_> {
        let fitting = || self.keys.iter().filter(move |key| key.fits(algorithm));
        let named: Vec<_> = fitting().filter(|key| name.is_of(key)).collect();
        if !named.is_empty() {
            return Candidates::Named(named);
        }
        let could_be = |key: &&Key| match name {
            KeyName::None => true,
            KeyName::Kid(_) => key.kid().is_none(),
            KeyName::Thumbprint(_) => !key.is_named(),
        };
        Candidates::Unnamed(fitting().filter(could_be).collect())
    }
}

/// How a token names its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyName<'a> {
    /// By `kid` (RFC 7515 §4.1.4).
    Kid(&'a str),
    /// By `x5t#S256` or `x5t` (RFC 7515 §4.1.8 and §4.1.7), without a `kid`.
    Thumbprint(&'a str),
    /// Not at all.
    None,
}

impl KeyName<'_> {
    /// Whether it is a name of this key.
    fn is_of(self, key: &Key) -> bool {
        match self {
            Self::Kid(kid) => key.kid() == Some(kid),
            Self::Thumbprint(thumbprint) => key.has_thumbprint(thumbprint),
            Self::None => false,
        }
    }
}

/// What a set offers for one token.
pub enum Candidates<'a> {
    /// Keys of the token's `kid`.
    Named(Vec<&'a Key>),
    /// Keys that fit, and that no `kid` tells apart; there may be none.
    Unnamed(Vec<&'a Key>),
}

type Candidate = Result<Dated, Skipped>;

/// A usable key, and when it was made: its `iat` or `nbf`, which some providers write, or 0.
struct Dated {
    key: Key,
    made: f64,
}

impl From<Key> for Dated {
    fn from(key: Key) -> Self {
        Self { key, made: 0.0 }
    }
}

/// Takes away what is beyond [`MAX_KEYS`]. The newest keys stay; of those of one age, those that come first.
fn beyond_the_bound(usable: &mut Vec<Dated>) -> Vec<Skipped> {
    if usable.len() <= MAX_KEYS {
        return Vec::new();
    }
    usable.sort_by(|one, other| other.made.total_cmp(&one.made));
    let why = format!("the document has more than {MAX_KEYS} usable keys, and this is not one of the newest");
    let rest = usable.split_off(MAX_KEYS);
    rest.into_iter().map(|dated| Skipped { kid: dated.key.kid().map(str::to_owned), why: why.clone() }).collect()
}

/// Some programs write it before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn json_keys(document: &[u8], trust: Trust) -> Result<Vec<Candidate>, String> {
    let set: Map<String, Value> = serde_json::from_slice(document)
        .map_err(|_| format!("The key document is {}.", what_is_no_json(document).unwrap_or("not a JSON object")))?;
    if is_map_of_certificates(&set) {
        return Ok(set.iter().map(|(kid, pem)| certificate_of_map(kid, pem)).collect());
    }
    let keys = match set.get("keys") {
        Some(Value::Array(keys)) => keys.as_slice(),
        Some(_) => return Err("Member \"keys\" of the key document is not an array.".into()),
        // A single JWK is not a JWK Set, but it is what people paste.
        None if set.contains_key("kty") => &[Value::Object(set)],
        None => return Err("The key document has no member \"keys\".".into()),
    };
    Ok(keys.iter().map(|jwk| jwk_key(jwk, trust)).collect())
}

/// What a document is instead of JSON, in words, if that can be told.
fn what_is_no_json(document: &[u8]) -> Option<&'static str> {
    match document.trim_ascii_start() {
        [] => Some("empty"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, b'{', ..] | [b'{', 0, ..] => Some("in UTF-16, not in UTF-8"),
        [0x1F, 0x8B, ..] => Some("compressed with gzip"),
        [b'<', ..] => Some("HTML or XML, not JSON"),
        _ => None,
    }
}

/// What Google serves for Firebase: the certificate of each `kid`.
fn is_map_of_certificates(set: &Map<String, Value>) -> bool {
    !set.is_empty() && set.values().all(|value| value.as_str().is_some_and(|text| pem::is_pem(text.as_bytes())))
}

fn certificate_of_map(kid: &str, pem: &Value) -> Candidate {
    let block = pem.as_str().and_then(|pem| pem::blocks(pem).next()).unwrap_or_default();
    let kid = Some(kid.to_owned());
    let key = pem::public_key(block).and_then(|key| key.into_key(kid.clone(), None));
    key.map(Dated::from).map_err(|why| Skipped { kid, why })
}

fn jwk_key(jwk: &Value, trust: Trust) -> Candidate {
    let kid = member(jwk, "kid").and_then(Value::as_str).map(str::to_owned);
    let made = ["iat", "nbf"].into_iter().find_map(|name| jwk.get(name)?.as_f64()).unwrap_or_default();
    parse_jwk(jwk, kid.clone(), trust).map(|key| Dated { key, made }).map_err(|why| Skipped { kid, why })
}

/// RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2. Each factor of an RSA modulus gives away the whole key.
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A member that says something: null and what is empty count as absent.
fn member<'a>(jwk: &'a Value, name: &str) -> Option<&'a Value> {
    jwk.get(name).filter(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    })
}

fn parse_jwk(jwk: &Value, kid: Option<String>, trust: Trust) -> Result<Key, String> {
    if member(jwk, "kid").is_some_and(|kid| !kid.is_string()) {
        return Err("\"kid\" is not a string".into());
    }
    if member(jwk, "use").is_some_and(|usage| usage != "sig") {
        return Err("\"use\" is not \"sig\"".into());
    }
    if let Some(operations) = member(jwk, "key_ops") {
        let verifies = operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"));
        if !verifies {
            return Err("\"key_ops\" does not have \"verify\"".into());
        }
    }
    let algorithm = match member(jwk, "alg") {
        None => None,
        Some(name) => {
            Some(name.as_str().and_then(|name| name.parse().ok()).ok_or("\"alg\" is not a supported algorithm")?)
        }
    };
    let kty = member(jwk, "kty").and_then(Value::as_str).ok_or("no \"kty\"")?;
    if kty != "oct" && PRIVATE_MEMBERS.iter().any(|name| member(jwk, name).is_some()) {
        return Err("the private key is published with it".into());
    }
    let thumbprints = ["x5t", "x5t#S256"].into_iter().filter_map(|name| member(jwk, name)?.as_str().map(str::to_owned));
    let key = match numbers(jwk, kty, trust)? {
        Some(material) => PublicKey { material, thumbprints: thumbprints.collect() },
        None => certificate(jwk)?,
    };
    key.into_key(kid, algorithm)
}

/// The numbers of a key; `None` if it has a certificate instead.
fn numbers(jwk: &Value, kty: &str, trust: Trust) -> Result<Option<Material>, String> {
    let number = |name: &str| -> Result<Vec<u8>, String> {
        let text = member(jwk, name).and_then(Value::as_str).ok_or(format!("no \"{name}\""))?;
        public_number(text).ok_or(format!("\"{name}\" is not base64url"))
    };
    let point = |curve| -> Result<Material, String> { Ok(Material::Ec { curve, x: number("x")?, y: number("y")? }) };
    let first = if kty == "RSA" { "n" } else { "x" };
    if kty != "oct" && member(jwk, first).is_none() && member(jwk, "x5c").is_some() {
        return Ok(None);
    }
    let curve = member(jwk, "crv").and_then(Value::as_str);
    Ok(Some(match (kty, curve) {
        ("RSA", _) => Material::Rsa { n: number("n")?, e: number("e")? },
        ("EC", Some("P-256")) => point(KeyType::P256)?,
        ("EC", Some("P-384")) => point(KeyType::P384)?,
        ("EC", Some("P-521")) => point(KeyType::P521)?,
        ("EC", Some("secp256k1")) => point(KeyType::Secp256k1)?,
        ("OKP", Some("Ed25519")) => Material::Ed25519(number("x")?),
        ("OKP", Some("Ed448")) => return Err("\"crv\" Ed448 is not supported; of EdDSA, Ed25519 is".into()),
        ("EC" | "OKP", _) => return Err("\"crv\" is not supported".into()),
        // A shared secret that came over the network is known to whoever can read the JWKS.
        ("oct", _) if trust == Trust::Network => return Err("shared secret from the network".into()),
        ("oct", _) => {
            let text = member(jwk, "k").and_then(Value::as_str).ok_or("no \"k\"")?;
            Material::Oct(URL_SAFE_NO_PAD.decode(text).map_err(|_| "\"k\" is not base64url")?)
        }
        _ => return Err("\"kty\" is not supported".into()),
    }))
}

/// The bytes of a public number. It is base64url without padding (RFC 7518 §2); some providers pad it, or use standard
/// base64, which can mean nothing else.
fn public_number(text: &str) -> Option<Vec<u8>> {
    let url_safe = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(url_safe).ok()
}

/// The key of the first certificate of `x5c` (RFC 7517 §4.7), which is the key's.
fn certificate(jwk: &Value) -> Result<PublicKey, String> {
    let first = member(jwk, "x5c").and_then(|chain| chain.get(0)).and_then(Value::as_str);
    let der = first.and_then(|text| STANDARD.decode(text).ok()).ok_or("\"x5c\" is not a list of base64")?;
    der::of_certificate(&der).ok_or("the certificate of \"x5c\" has no supported key".into())
}

fn pem_keys(document: &[u8]) -> Result<Vec<Candidate>, String> {
    let text = String::from_utf8_lossy(document);
    let key = |block| pem::public_key(block)?.into_key(None, None);
    Ok(pem::blocks(&text).map(|block| key(block).map(Dated::from).map_err(|why| Skipped { kid: None, why })).collect())
}
