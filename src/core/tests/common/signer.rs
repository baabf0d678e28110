//! Keys that sign, made anew for each run.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new("rsa", rsa()));
pub static RSA_OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::new("rsa-other", rsa()));
pub static P256: LazyLock<Signer> = LazyLock::new(|| Signer::new("p256", ec(Curve::P256)));
pub static P256_OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::new("p256-other", ec(Curve::P256)));
pub static P384: LazyLock<Signer> = LazyLock::new(|| Signer::new("p384", ec(Curve::P384)));
pub static P521: LazyLock<Signer> = LazyLock::new(|| Signer::new("p521", ec(Curve::P521)));
pub static SECP256K1: LazyLock<Signer> = LazyLock::new(|| Signer::new("secp256k1", ec(Curve::Secp256k1)));
pub static ED25519: LazyLock<Signer> =
    LazyLock::new(|| Signer::new("ed25519", Pair::Ed25519(Ed25519KeyPair::generate().unwrap())));
pub static OCT: LazyLock<Signer> = LazyLock::new(|| Signer::new("oct", Pair::Oct([0x5a; 64])));

/// A private key and the `kid` of its public half.
pub struct Signer {
    pub kid: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Oct([u8; 64]),
}

fn rsa() -> Pair {
    Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
    Secp256k1,
}

impl Curve {
    /// Its name in JWKs (RFC 7518 §6.2.1.1, RFC 8812 §3.1), its algorithm, and what signs.
    fn row(self) -> (&'static str, &'static [&'static str], &'static EcdsaSigningAlgorithm) {
        match self {
            Self::P256 => ("P-256", &["ES256"], &ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::P384 => ("P-384", &["ES384"], &ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::P521 => ("P-521", &["ES512"], &ECDSA_P521_SHA512_FIXED_SIGNING),
            Self::Secp256k1 => ("secp256k1", &["ES256K"], &ECDSA_P256K1_SHA256_FIXED_SIGNING),
        }
    }
}

fn ec(curve: Curve) -> Pair {
    Pair::Ec(curve, EcdsaKeyPair::generate(curve.row().2).unwrap())
}

impl Signer {
    fn new(kid: &'static str, pair: Pair) -> Self {
        Self { kid, pair }
    }

    /// The algorithms that this key can sign with.
    pub fn algorithms(&self) -> &'static [&'static str] {
        match &self.pair {
            Pair::Rsa(_) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Pair::Ec(curve, _) => curve.row().1,
            Pair::Ed25519(_) => &["EdDSA"],
            Pair::Oct(_) => &["HS256", "HS384", "HS512"],
        }
    }

    /// Signs with one of them.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    other => panic!("{other} is no RSA algorithm"),
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ec(_, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Oct(secret) => hmac_of(algorithm, secret, message),
        }
    }

    /// The key as a JWK, without what is private.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": self.kid, "n": base64url(&public.n), "e": base64url(&public.e)})
            }
            Pair::Ec(curve, pair) => self.ec_jwk(curve.row().0, pair),
            Pair::Ed25519(pair) => {
                let x = base64url(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x})
            }
            Pair::Oct(secret) => json!({"kty": "oct", "kid": self.kid, "k": base64url(secret)}),
        }
    }

    fn ec_jwk(&self, curve: &str, pair: &EcdsaKeyPair) -> Value {
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        json!({"kty": "EC", "crv": curve, "kid": self.kid, "x": base64url(x), "y": base64url(y)})
    }

    /// The public key as a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub fn spki(&self) -> Vec<u8> {
        let der = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Pair::Ec(_, pair) => pair.public_key().as_der().unwrap(),
            Pair::Ed25519(pair) => pair.public_key().as_der().unwrap(),
            Pair::Oct(_) => panic!("a shared secret has no public key"),
        };
        der.as_ref().to_vec()
    }

    /// The public key as an RSAPublicKey (RFC 8017 appendix A.1.1).
    pub fn pkcs1(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            _ => panic!("not an RSA key"),
        }
    }

    /// A certificate of the key, which it signed itself (RFC 5280), and which expired long ago.
    pub fn certificate(&self) -> Vec<u8> {
        let pkcs8 = match &self.pair {
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der>::as_der(pair).unwrap().as_ref().to_vec(),
            Pair::Ec(_, pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Oct(_) => panic!("a shared secret has no certificate"),
        };
        let pair = rcgen::KeyPair::try_from(pkcs8).unwrap();
        let mut params = rcgen::CertificateParams::new(["issuer.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.self_signed(&pair).unwrap().der().to_vec()
    }

    /// The public key as a PEM block.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }
}

/// A PEM block (RFC 7468 §2).
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An HMAC, as `HS256`, `HS384` and `HS512` make them.
pub fn hmac_of(algorithm: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => panic!("{other} is no HMAC algorithm"),
    };
    hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
}

pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
