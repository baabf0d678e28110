//! Keys that sign tokens, well-formed or not, and publish themselves as JWK.

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "drivers")]
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A JWS signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

impl Alg {
    /// Every algorithm.
    pub const ALL: [Self; 12] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
    ];

    /// The name that `alg` members and headers carry, such as `RS256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    fn rsa_encoding(self) -> &'static dyn signature::RsaEncoding {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_SHA512,
            Self::Ps256 => &signature::RSA_PSS_SHA256,
            Self::Ps384 => &signature::RSA_PSS_SHA384,
            Self::Ps512 => &signature::RSA_PSS_SHA512,
            _ => panic!("{} is not an RSA algorithm", self.name()),
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => panic!("{} is not an HMAC algorithm", self.name()),
        }
    }
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

/// A private key (or shared secret) together with its algorithm and key id.
pub struct SigningKey {
    kid: String,
    alg: Alg,
    private: Private,
}

impl SigningKey {
    /// A new key for `alg`; 2048 bit where it is an RSA key, as many random
    /// bytes as the hash is long where it is a secret.
    pub fn generate(alg: Alg, kid: &str) -> Self {
        let private = match alg {
            Alg::Es256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Alg::Es384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Alg::EdDsa => Private::Ed25519(Ed25519KeyPair::generate().expect("Ed25519 key")),
            Alg::Hs256 | Alg::Hs384 | Alg::Hs512 => {
                let mut secret = vec![0; alg.hmac().digest_algorithm().output_len()];
                rand::fill(&mut secret).expect("random bytes");
                return Self::from_secret(alg, kid, &secret);
            }
            _ => return Self::rsa(alg, kid, 2048),
        };
        Self::new(alg, kid, private)
    }

    /// A new RSA key of 2048, 3072, 4096 or 8192 bit.
    pub fn rsa(alg: Alg, kid: &str, bits: usize) -> Self {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            8192 => KeySize::Rsa8192,
            _ => panic!("no RSA keys of {bits} bit can be generated"),
        };
        let pair = RsaKeyPair::generate(size).expect("RSA key");
        Self::new(alg, kid, Private::Rsa(pair))
    }

    /// An HMAC key from any bytes, so that a secret can be short, or be what
    /// everybody knows (the PEM text of a public key).
    pub fn from_secret(alg: Alg, kid: &str, secret: &[u8]) -> Self {
        Self::new(alg, kid, Private::Secret(secret.to_vec()))
    }

    fn new(alg: Alg, kid: &str, private: Private) -> Self {
        Self { kid: kid.to_owned(), alg, private }
    }

    /// The key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm this key signs with.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// The key as an issuer publishes it (RFC 7517): the public half, or the
    /// secret itself where there is no such half.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &self.private {
            Private::Rsa(pair) => json!({
                "kty": "RSA",
                "n": base64url(pair.public_key().modulus().big_endian_without_leading_zero()),
                "e": base64url(pair.public_key().exponent().big_endian_without_leading_zero()),
            }),
            Private::Ec(pair) => {
                // SEC 1 uncompressed point: 0x04, then both coordinates at full width.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": crv, "x": base64url(x), "y": base64url(y) })
            }
            Private::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()) })
            }
            Private::Secret(secret) => json!({ "kty": "oct", "k": base64url(secret) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.alg.name());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as PEM (`SubjectPublicKeyInfo`).
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der = match &self.private {
            Private::Rsa(pair) => pair.public_key().as_der(),
            Private::Ec(pair) => pair.public_key().as_der(),
            Private::Ed25519(pair) => pair.public_key().as_der(),
            Private::Secret(_) => panic!("an HMAC key has no public half"),
        }
        .expect("SubjectPublicKeyInfo");
        pem("PUBLIC KEY", der.as_ref())
    }

    /// A certificate of an RSA key, as DER.
    #[cfg(feature = "drivers")]
    pub fn certificate(&self) -> Vec<u8> {
        let Private::Rsa(pair) = &self.private else { panic!("not an RSA key") };
        let der: Pkcs8V1Der = pair.as_der().expect("PKCS #8");
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(der.as_ref());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).expect("an RSA key");
        rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").der().to_vec()
    }

    /// The bare signature of `message`, in the form JWS wants it.
    pub fn raw_sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(self.alg.rsa_encoding(), &random, message, &mut signature).expect("RSA signature");
                signature
            }
            Private::Ec(pair) => {
                let signature = pair.sign(&random, message).expect("ECDSA signature");
                signature.as_ref().to_vec()
            }
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Secret(secret) => {
                let key = hmac::Key::new(self.alg.hmac(), secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }

    /// A token with these claims under the header `alg`, `typ: JWT`, `kid`.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.alg.name(), "typ": "JWT", "kid": self.kid });
        self.sign_with(&header, claims)
    }

    /// A token with any header, which may contradict the key.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A rightly signed token whose header and payload are any bytes.
    pub fn sign_raw(&self, header: &[u8], payload: &[u8]) -> String {
        let message = signing_input(header, payload);
        let signature = self.raw_sign(message.as_bytes());
        format!("{message}.{}", base64url(&signature))
    }
}

fn ec(alg: &'static signature::EcdsaSigningAlgorithm) -> Private {
    Private::Ec(EcdsaKeyPair::generate(alg).expect("EC key"))
}

/// A block of PEM (RFC 7468) with this label.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for start in (0..body.len()).step_by(64) {
        pem.push_str(&body[start..body.len().min(start + 64)]);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Without padding (RFC 7515 §2).
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signing_input(header: &[u8], payload: &[u8]) -> String {
    format!("{}.{}", base64url(header), base64url(payload))
}

/// A token with any three parts, signed by nobody: forgeries, `alg: none`.
pub fn compact(header: &[u8], payload: &[u8], signature: &[u8]) -> String {
    format!("{}.{}", signing_input(header, payload), base64url(signature))
}

/// The JWK set (RFC 7517 section 5) of these keys.
pub fn jwks(keys: &[&SigningKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>() })
}

/// Good claims for the audience `app`, valid for an hour from now.
pub fn claims(iss: &str, sub: &str) -> Value {
    let now = now();
    json!({ "iss": iss, "sub": sub, "aud": "app", "iat": now, "exp": now + 3600 })
}

/// The same with more claims, or others.
pub fn claims_with(iss: &str, sub: &str, more: &Value) -> Value {
    let mut all = claims(iss, sub);
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    all
}

/// The time as a NumericDate: seconds since 1970.
pub fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(elapsed.as_secs()).expect("a clock before the end of time")
}
