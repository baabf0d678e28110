//! One verification key.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ED25519_PUBLIC_KEY_LEN, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm as Hmac, DecodingKey};
use once_cell::sync::OnceCell;

use crate::bounds::{MAX_RSA_BITS, MIN_OCT_BYTES, MIN_RSA_BITS};
use crate::digest::{Digest, digest_of_parts};
use crate::jose::algorithm::{Algorithm, KeyType};

/// A key that passed the bounds of its type.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    thumbprints: Vec<String>,
    algorithm: Option<Algorithm>,
    key_type: KeyType,
    bits: usize,
    verifier: KeyVerifier,
    digest: Digest,
}

/// What checks signatures: a public key is parsed once, not for each signature.
#[derive(Clone)]
enum KeyVerifier {
    Rsa(Box<RsaKey>),
    /// A point on a curve, which has one algorithm.
    Curve(ParsedPublicKey),
    /// A shared secret, erased from memory when it is dropped.
    Secret(DecodingKey),
}

/// An RSA public key, parsed for each algorithm when that is used first.
#[derive(Clone)]
struct RsaKey {
    /// A SubjectPublicKeyInfo.
    der: Vec<u8>,
    parsed: [OnceCell<ParsedPublicKey>; 6],
}

/// The numbers of a key, as a JWK or a PEM block gives them.
pub enum Material {
    /// RSA modulus and exponent, big-endian.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point on a curve.
    Ec {
        /// Which curve.
        curve: KeyType,
        /// The first coordinate.
        x: Vec<u8>,
        /// The second coordinate.
        y: Vec<u8>,
    },
    /// An Ed25519 public key.
    Ed25519(Vec<u8>),
    /// A shared secret.
    Oct(Vec<u8>),
}

impl Material {
    fn digest(&self) -> Digest {
        match self {
            Self::Rsa { n, e } => digest_of_parts(&[b"RSA", n, e]),
            Self::Ec { x, y, .. } => digest_of_parts(&[b"EC", x, y]),
            Self::Ed25519(x) => digest_of_parts(&[b"OKP", x]),
            Self::Oct(secret) => digest_of_parts(&[b"oct", secret]),
        }
    }
}

impl Key {
    /// Checks the bounds of the key's type, and that its numbers make a key. The error says why the key cannot be used, as
    /// the rest of a sentence.
    pub fn new(kid: Option<String>, algorithm: Option<Algorithm>, material: Material) -> Result<Self, String> {
        let digest = material.digest();
        let (key_type, bits, verifier) = match material {
            Material::Rsa { n, e } => rsa(&n, &e)?,
            Material::Ec { curve, x, y } => ec(curve, &x, &y)?,
            Material::Ed25519(x) => ed25519(&x)?,
            Material::Oct(secret) => oct(&secret)?,
        };
        if let Some(algorithm) = algorithm
            && algorithm.key_type() != key_type
        {
            return Err(format!("\"alg\" {} does not fit the key type", algorithm.name()));
        }
        Ok(Self { kid, thumbprints: Vec::new(), algorithm, key_type, bits, verifier, digest })
    }

    /// The key's identifier, `kid` (RFC 7517 §4.5).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key with these thumbprints of its certificate, `x5t` and `x5t#S256` (RFC 7517 §4.8 and §4.9), by which tokens
    /// can name it too.
    #[must_use]
    pub fn with_thumbprints(mut self, thumbprints: Vec<String>) -> Self {
        self.thumbprints = thumbprints;
        self
    }

    /// Whether this is a thumbprint of the key's certificate. Those by SHA-1 and by SHA-256 are of different lengths.
    pub fn has_thumbprint(&self, thumbprint: &str) -> bool {
        self.thumbprints.iter().any(|own| own == thumbprint)
    }

    /// Whether anything names the key.
    pub fn is_named(&self) -> bool {
        self.kid.is_some() || !self.thumbprints.is_empty()
    }

    /// A digest of the key itself, whatever its `kid`: the same key in another document has the same.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The algorithm to which its publisher bound the key, `alg` (RFC 7517 §4.4).
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// The type of the key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The size of the key in bits: of the modulus, of a coordinate, or of the secret.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Whether tokens signed with `algorithm` can be checked with this key. A key serves the algorithms of its own
    /// type only, so an RSA key is never an HMAC secret (RFC 8725 §2.1), and HS384 and HS512 need secrets as long as
    /// their hash (RFC 7518 §3.2).
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let long_enough = match algorithm {
            Algorithm::HS384 => self.bits >= 384,
            Algorithm::HS512 => self.bits >= 512,
            _ => true,
        };
        self.key_type == algorithm.key_type() && self.algorithm.is_none_or(|own| own == algorithm) && long_enough
    }

    /// Whether this key made `signature` over `message`; `false` if the algorithm does not fit.
    pub(crate) fn made(&self, signature: &[u8], message: &[u8], algorithm: Algorithm) -> bool {
        self.fits(algorithm)
            && match &self.verifier {
                KeyVerifier::Rsa(key) => key.parsed(algorithm).is_some_and(|key| is_signed(key, message, signature)),
                KeyVerifier::Curve(key) => is_signed(key, message, signature),
                KeyVerifier::Secret(secret) => is_authenticated(secret, message, signature, algorithm),
            }
    }
}

impl Key {
    /// Whether the base64url of this secret, taken for a secret itself, made the signature: then somebody wrote the
    /// secret where its base64url belongs.
    pub(crate) fn made_by_text_of_secret(&self, signature: &[u8], message: &[u8], algorithm: Algorithm) -> bool {
        let KeyVerifier::Secret(secret) = &self.verifier else { return false };
        let text = secret.try_get_as_bytes().map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        text.is_ok_and(|text| {
            is_authenticated(&DecodingKey::from_secret(text.as_bytes()), message, signature, algorithm)
        })
    }
}

/// RFC 7518 §3.3 to §3.5 and RFC 8037 §3.1: the crypto library takes a signature of the right length only.
fn is_signed(key: &ParsedPublicKey, message: &[u8], signature: &[u8]) -> bool {
    key.verify_sig(message, signature).is_ok()
}

/// RFC 7518 §3.2.
fn is_authenticated(secret: &DecodingKey, message: &[u8], mac: &[u8], algorithm: Algorithm) -> bool {
    let hmac = match algorithm {
        Algorithm::HS256 => Hmac::HS256,
        Algorithm::HS384 => Hmac::HS384,
        Algorithm::HS512 => Hmac::HS512,
        _ => return false,
    };
    (DEFAULT_PROVIDER.verifier_factory)(&hmac, secret)
        .is_ok_and(|verifier| verifier.verify(message, &mac.to_vec()).is_ok())
}

impl RsaKey {
    /// The key for an RSA algorithm; `None` for any other algorithm.
    fn parsed(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let (slot, parameters): (usize, &RsaParameters) = match algorithm {
            Algorithm::RS256 => (0, &RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => (1, &RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => (2, &RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => (3, &RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => (4, &RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => (5, &RSA_PSS_2048_8192_SHA512),
            _ => return None,
        };
        self.parsed[slot].get_or_try_init(|| ParsedPublicKey::new(parameters, &self.der)).ok()
    }
}

/// The type of a key, its size in bits, and what checks its signatures; or why it cannot be used.
type Checked = Result<(KeyType, usize, KeyVerifier), String>;

/// RFC 7518 §6.3.1.
fn rsa(n: &[u8], e: &[u8]) -> Checked {
    let n = without_leading_zeros(n);
    let e = without_leading_zeros(e);
    let bits = n.first().map_or(0, |top| n.len() * 8 - top.leading_zeros() as usize);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(format!("RSA key of {bits} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}"));
    }
    // 1 would accept anything; even numbers are no exponents; the crypto library stops at 33 bits.
    let exponent = e.iter().try_fold(0_u64, |value, byte| Some(value.checked_mul(256)? + u64::from(*byte)));
    if !exponent.is_some_and(|e| e % 2 == 1 && (3..1 << 33).contains(&e)) {
        return Err("RSA exponent out of range".into());
    }
    // Parsing from DER checks the numbers, which the crypto library does not do if it takes them as they are.
    let der = RsaPublicKeyComponents { n, e }.as_der().map_err(|_| "not an RSA public key")?.as_ref().to_vec();
    let key = RsaKey { der, parsed: Default::default() };
    key.parsed(Algorithm::RS256).ok_or("not an RSA public key")?;
    Ok((KeyType::Rsa, bits, KeyVerifier::Rsa(Box::new(key))))
}

/// RFC 7518 §6.2.1.
fn ec(curve: KeyType, x: &[u8], y: &[u8]) -> Checked {
    let (verification, bits) = match curve {
        KeyType::P384 => (&ECDSA_P384_SHA384_FIXED, 384),
        KeyType::P521 => (&ECDSA_P521_SHA512_FIXED, 521),
        KeyType::Secp256k1 => (&ECDSA_P256K1_SHA256_FIXED, 256),
        _ => (&ECDSA_P256_SHA256_FIXED, 256_usize),
    };
    let length = bits.div_ceil(8);
    if x.len() != length || y.len() != length {
        return Err(format!("EC coordinate not of {length} bytes"));
    }
    // SEC 1 §2.3.3, uncompressed form.
    let point = [&[4], x, y].concat();
    let key = ParsedPublicKey::new(verification, point).map_err(|_| "point not on the curve")?;
    Ok((curve, bits, KeyVerifier::Curve(key)))
}

/// RFC 8037 §2.
fn ed25519(x: &[u8]) -> Checked {
    const PROBLEM: &str = "not an Ed25519 public key";
    // The crypto library also takes a SubjectPublicKeyInfo.
    if x.len() != ED25519_PUBLIC_KEY_LEN {
        return Err(PROBLEM.into());
    }
    let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| PROBLEM)?;
    Ok((KeyType::Ed25519, 256, KeyVerifier::Curve(key)))
}

/// RFC 7518 §6.4.1.
fn oct(secret: &[u8]) -> Checked {
    match secret.len() < MIN_OCT_BYTES {
        true => Err(format!("shared secret shorter than {MIN_OCT_BYTES} bytes")),
        false => Ok((KeyType::Oct, secret.len() * 8, KeyVerifier::Secret(DecodingKey::from_secret(secret)))),
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("key_type", &self.key_type).finish_non_exhaustive()
    }
}
