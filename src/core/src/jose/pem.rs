//! Public keys in PEM files (RFC 7468).
//!
//! Nothing here parses ASN.1 by recursion: a file that nests without end must not overflow the server's stack.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::jose::algorithm::KeyType;
use crate::jose::key::Material;

/// The texts behind each `-----BEGIN `. What stands between blocks is ignored (RFC 7468 §2).
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("-----BEGIN ").skip(1)
}

/// The key of one block: `PUBLIC KEY` (RFC 7468 §13) or `RSA PUBLIC KEY` (RFC 8017 appendix A.1.1). The error says
/// why there is none.
pub(crate) fn material(block: &str) -> Result<Material, String> {
    let (label, rest) = block.split_once("-----").ok_or(UNREADABLE)?;
    // Certificates are refused: their dates and names would have to be checked, and nothing here does.
    if label != "PUBLIC KEY" && label != "RSA PUBLIC KEY" {
        return Err("the PEM block is not a public key".into());
    }
    let (body, end) = rest.split_once("-----END ").ok_or(UNREADABLE)?;
    if !end.strip_prefix(label).is_some_and(|end| end.starts_with("-----")) {
        return Err(UNREADABLE.into());
    }
    // Settings cannot have line breaks, so a block on one line must do, too.
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| UNREADABLE)?;
    match label {
        "PUBLIC KEY" => subject_public_key(&der),
        _ => rsa_public_key(&der),
    }
    .ok_or("the PEM block has no supported key".into())
}

const UNREADABLE: &str = "the PEM block cannot be read";

/// RFC 3279 §2.3.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// RFC 5480 §2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// RFC 5480 §2.1.1.1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// RFC 5480 §2.1.1.1.
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RFC 8410 §3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The key of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
fn subject_public_key(der: &[u8]) -> Option<Material> {
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
fn rsa_public_key(der: &[u8]) -> Option<Material> {
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
        _ => return None,
    };
    let coordinates = key.strip_prefix(&[4])?;
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Some(Material::Ec { curve, x: x.to_vec(), y: y.to_vec() })
}
