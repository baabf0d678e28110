//! SHA-256, by which tokens, subjects and stored documents are known.

/// The SHA-256 of a token. The token itself is not kept.
pub type Digest = [u8; 32];

/// The digest of a token.
pub fn digest(token: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token).as_ref());
    digest
}
