//! SHA-256, by which tokens, subjects and stored documents are known.

/// A SHA-256 (FIPS 180-4).
pub type Digest = [u8; 32];

/// The digest of bytes: what stands for them is not them, so no token is kept.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}
