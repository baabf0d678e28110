//! Verified tokens that a backend remembers, so that a pooler's repeated checkout costs no signature check.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::digest::Digest;
use crate::rejection::Rejection;
use crate::time::Timestamp;
use crate::verification::verify::{Keys, VerifiedClaims};

/// The most recently used tokens, verified under the same settings: with other settings begins another cache.
pub struct TokenCache(Option<LruCache<Digest, Remembered>>);

/// A token that is remembered.
#[derive(Clone)]
pub struct Remembered {
    /// Its claims.
    pub claims: Arc<VerifiedClaims>,
    /// The generation of the revocations, as the caller counts them, at which none meant the token.
    pub unrevoked_at: u64,
}

impl TokenCache {
    /// A cache of `size` tokens; 0 remembers none.
    pub fn new(size: usize) -> Self {
        Self(NonZeroUsize::new(size).map(LruCache::new))
    }

    /// The token with this digest, if it is remembered and the keys that vouched for it are still in
    /// force. The error is that of a check that fails now, though it did not when the token was verified.
    pub fn recall(
        &mut self,
        digest: &Digest,
        keys: &mut dyn Keys,
        now: Timestamp,
    ) -> Result<Option<Remembered>, Rejection> {
        let Some(remembered) = self.0.as_mut().and_then(|cache| cache.get(digest)) else {
            return Ok(None);
        };
        if remembered.claims.recheck(keys, now)? {
            return Ok(Some(remembered.clone()));
        }
        self.forget(digest);
        Ok(None)
    }

    /// Remembers a token, and forgets the least recently used one if it is full.
    pub fn remember(&mut self, digest: Digest, token: Remembered) {
        if let Some(cache) = &mut self.0 {
            cache.put(digest, token);
        }
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(cache) = &mut self.0 {
            cache.pop(digest);
        }
    }
}
