//! One verification key.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519_PUBLIC_KEY_LEN, ParsedPublicKey, RsaPublicKeyComponents,
    RsaSubjectPublicKey,
};
use jsonwebtoken::DecodingKey;

use crate::bounds::{MAX_RSA_BITS, MIN_OCT_BYTES, MIN_RSA_BITS};
use crate::jose::algorithm::{Algorithm, KeyType};

/// A key that passed the bounds of its type.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    key_type: KeyType,
    bits: usize,
    decoding: DecodingKey,
}

/// The public numbers of a key, as a JWK or a PEM block gives them.
pub enum Material {
    /// RSA modulus and exponent, big-endian.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point on P-256 or P-384.
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

impl Key {
    /// Checks the bounds of the key's type. The error says why the key cannot be used.
    pub fn new(kid: Option<String>, algorithm: Option<Algorithm>, material: Material) -> Result<Self, String> {
        let (key_type, bits, decoding) = match material {
            Material::Rsa { n, e } => rsa(n, e)?,
            Material::Ec { curve, x, y } => ec(curve, x, y)?,
            Material::Ed25519(x) => {
                if x.len() != ED25519_PUBLIC_KEY_LEN {
                    return Err("not an Ed25519 public key".into());
                }
                (KeyType::Ed25519, 256, DecodingKey::from_ed_der(&x))
            }
            Material::Oct(secret) => {
                if secret.len() < MIN_OCT_BYTES {
                    return Err(format!("shared secret shorter than {MIN_OCT_BYTES} bytes"));
                }
                (KeyType::Oct, secret.len() * 8, DecodingKey::from_secret(&secret))
            }
        };
        if let Some(algorithm) = algorithm
            && algorithm.key_type() != key_type
        {
            return Err(format!("\"alg\" {} does not fit the key type", algorithm.name()));
        }
        Ok(Self { kid, algorithm, key_type, bits, decoding })
    }

    /// The key's identifier.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithm to which its publisher bound the key.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// The type of the key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The size of the key in bits.
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

    /// Whether this key made `signature` (base64url) over `message`. The algorithm must fit.
    pub(crate) fn made(&self, signature: &str, message: &[u8], algorithm: Algorithm) -> bool {
        matches!(jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm.jws()), Ok(true))
    }
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<(KeyType, usize, DecodingKey), String> {
    let n = without_leading_zeros(&n);
    let e = without_leading_zeros(&e);
    let bits = n.first().map_or(0, |top| n.len() * 8 - top.leading_zeros() as usize);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(format!("RSA key of {bits} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}"));
    }
    // 1 would accept anything; even numbers are no exponents; the crypto library stops at 33 bits.
    let exponent = e.iter().try_fold(0_u64, |value, byte| Some(value.checked_mul(256)? + u64::from(*byte)));
    if !exponent.is_some_and(|e| e % 2 == 1 && (3..1 << 33).contains(&e)) {
        return Err("RSA exponent out of range".into());
    }
    let der = RsaPublicKeyComponents { n, e }.as_der();
    let parsed = der.ok().and_then(|der| RsaSubjectPublicKey::from_der(der.as_ref()).ok());
    parsed.ok_or("not an RSA public key")?;
    Ok((KeyType::Rsa, bits, DecodingKey::from_rsa_raw_components(n, e)))
}

fn ec(curve: KeyType, x: Vec<u8>, y: Vec<u8>) -> Result<(KeyType, usize, DecodingKey), String> {
    let (verification, length) = match curve {
        KeyType::P384 => (&ECDSA_P384_SHA384_FIXED, 48),
        _ => (&ECDSA_P256_SHA256_FIXED, 32),
    };
    if x.len() != length || y.len() != length {
        return Err(format!("EC coordinate not of {length} bytes"));
    }
    // SEC 1 §2.3.3, uncompressed form.
    let point = [&[4][..], &x, &y].concat();
    ParsedPublicKey::new(verification, &point).map_err(|_| "point not on the curve")?;
    Ok((curve, length * 8, DecodingKey::from_ec_der(&point)))
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
