//! Public keys and certificates in PEM files (RFC 7468).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::jose::der::{self, PublicKey};

/// The texts behind each `-----BEGIN `. What stands between blocks is ignored (RFC 7468 §2).
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("-----BEGIN ").skip(1)
}

/// Whether a text begins with a PEM block.
pub(crate) fn is_pem(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// The key of one block: `PUBLIC KEY` (RFC 7468 §13), `RSA PUBLIC KEY` (RFC 8017 appendix A.1.1) or that of a `CERTIFICATE`
/// (RFC 7468 §5). The error says why there is none.
pub(crate) fn public_key(block: &str) -> Result<PublicKey, String> {
    let (label, rest) = block.split_once("-----").ok_or(UNREADABLE)?;
    let read: fn(&[u8]) -> Option<PublicKey> = match label {
        "PUBLIC KEY" => |der| der::subject_public_key(der).map(PublicKey::alone),
        "RSA PUBLIC KEY" => |der| der::rsa_public_key(der).map(PublicKey::alone),
        "CERTIFICATE" => der::of_certificate,
        _ => return Err("the PEM block is neither a public key nor a certificate".into()),
    };
    let (body, end) = rest.split_once("-----END ").ok_or(UNREADABLE)?;
    if !end.strip_prefix(label).is_some_and(|end| end.starts_with("-----")) {
        return Err(UNREADABLE.into());
    }
    // Settings cannot have line breaks, so a block on one line must do, too.
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| UNREADABLE)?;
    read(&der).ok_or("the PEM block has no supported key".into())
}

const UNREADABLE: &str = "the PEM block cannot be read";
