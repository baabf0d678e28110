//! Public keys and certificates in DER (RFC 5280).
//!
//! Nothing here parses ASN.1 by recursion: a file that nests without end must not overflow the server's stack.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};
use webpki::EndEntityCert;

use crate::jose::algorithm::{Algorithm, KeyType};
use crate::jose::key::{Key, Material};

/// A key, and what names it.
pub(crate) struct PublicKey {
    /// Its numbers.
    pub(crate) material: Material,
    /// Those of its certificate, `x5t` and `x5t#S256`.
    pub(crate) thumbprints: Vec<String>,
}

impl PublicKey {
    /// The same as one that verifies. The error says why it cannot be used, as the rest of a sentence.
    pub(crate) fn into_key(self, kid: Option<String>, algorithm: Option<Algorithm>) -> Result<Key, String> {
        Ok(Key::new(kid, algorithm, self.material)?.with_thumbprints(self.thumbprints))
    }

    /// A key without a certificate.
    pub(crate) fn alone(material: Material) -> Self {
        Self { material, thumbprints: Vec::new() }
    }
}

/// The key of a certificate. Its dates, its names and who signed it do not matter: the document that it is in says whose
/// key it is, and for how long.
pub(crate) fn of_certificate(der: &[u8]) -> Option<PublicKey> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).ok()?;
    let material = subject_public_key(&certificate.subject_public_key_info())?;
    // RFC 7515 §4.1.7 and §4.1.8.
    let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &der));
    Some(PublicKey { material, thumbprints: [&SHA1_FOR_LEGACY_USE_ONLY, &SHA256].map(thumbprint).into() })
}

/// RFC 3279 §2.3.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// RFC 5480 §2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// RFC 5480 §2.1.1.1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// RFC 5480 §2.1.1.1.
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RFC 5480 §2.1.1.1.
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// SEC 2 §A.2.1.
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");

/// RFC 8410 §3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The key of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
pub(crate) fn subject_public_key(der: &[u8]) -> Option<Material> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    match (info.algorithm.oid, info.algorithm.parameters) {
        (RSA, Some(parameters)) if parameters.is_null() => rsa_public_key(key),
        (EC, Some(_)) => point(&info.algorithm, key),
        (ED25519, None) => Some(Material::Ed25519(key.to_vec())),
        _ => None,
    }
}

/// An RSAPublicKey (RFC 8017 appendix A.1.1).
pub(crate) fn rsa_public_key(der: &[u8]) -> Option<Material> {
    let mut reader = SliceReader::new(der).ok()?;
    let number = |reader: &mut SliceReader| UintRef::decode(reader).map(|number| number.as_bytes().to_vec());
    let key =
        reader.sequence(|reader| Ok::<_, spki::der::Error>(Material::Rsa { n: number(reader)?, e: number(reader)? }));
    reader.finish().ok()?;
    key.ok()
}

/// A point in the uncompressed form (RFC 5480 §2.2) on a named curve.
fn point(algorithm: &AlgorithmIdentifierRef, key: &[u8]) -> Option<Material> {
    let curve = match algorithm.parameters_oid().ok()? {
        P256 => KeyType::P256,
        P384 => KeyType::P384,
        P521 => KeyType::P521,
        SECP256K1 => KeyType::Secp256k1,
        _ => return None,
    };
    let coordinates = key.strip_prefix(&[4])?;
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Some(Material::Ec { curve, x: x.to_vec(), y: y.to_vec() })
}
