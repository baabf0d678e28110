//! Public keys in PEM files (RFC 7468).
//!
//! Nothing here parses ASN.1 by recursion: a file that nests without end must not overflow the server's stack.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{RsaPublicKeyComponents, RsaSubjectPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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
    rsa(label, &der).or_else(|| elliptic(label, &der)).ok_or("the PEM block has no supported key".into())
}

const UNREADABLE: &str = "the PEM block cannot be read";

fn rsa(label: &str, der: &[u8]) -> Option<Material> {
    let key = RsaSubjectPublicKey::from_der(der).ok()?;
    // The library reads both forms whatever the label, and ignores what follows the key.
    let same = match label {
        "RSA PUBLIC KEY" => key.as_ref() == der,
        _ => key.as_der().ok()?.as_ref() == der,
    };
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(&key);
    same.then_some(Material::Rsa { n, e })
}

/// A SubjectPublicKeyInfo of P-256 up to the coordinates: DER spells the named curve and the uncompressed form in one
/// way only (RFC 5480 §2).
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";

/// The same of P-384.
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";

/// The same of Ed25519, up to the key (RFC 8410 §4).
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

fn elliptic(label: &str, der: &[u8]) -> Option<Material> {
    if label != "PUBLIC KEY" {
        return None;
    }
    let point = |curve, coordinates: &[u8]| {
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        Material::Ec { curve, x: x.to_vec(), y: y.to_vec() }
    };
    let of_length = |prefix, length| der.strip_prefix(prefix).filter(|rest| rest.len() == length);
    of_length(P256, 64)
        .map(|rest| point(KeyType::P256, rest))
        .or_else(|| of_length(P384, 96).map(|rest| point(KeyType::P384, rest)))
        .or_else(|| of_length(ED25519, 32).map(|rest| Material::Ed25519(rest.to_vec())))
}
