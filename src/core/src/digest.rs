//! SHA-256, by which tokens, subjects and stored documents are known.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 (FIPS 180-4).
pub type Digest = [u8; 32];

/// The digest of bytes: what stands for them is not them, so no token is kept.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref());
    digest
}

/// The digest of a list, of which no copy is made. Other lists have other digests: each part follows its length.
pub fn digest_of_parts(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
