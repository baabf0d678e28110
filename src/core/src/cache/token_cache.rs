//! Verified tokens that a backend remembers, so that a pooler's repeated checkout costs no signature check.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::digest::Digest;
use crate::verification::verify::Claims;

/// The most recently used tokens. Whoever takes claims out must recheck their time and their keys.
pub struct TokenCache(Option<LruCache<Digest, Arc<Claims>>>);

impl TokenCache {
    /// A cache of `size` tokens; 0 remembers none.
    pub fn new(size: usize) -> Self {
        Self(NonZeroUsize::new(size).map(LruCache::new))
    }

    /// The claims of the token with this digest.
    pub fn claims(&mut self, digest: &Digest) -> Option<Arc<Claims>> {
        self.0.as_mut()?.get(digest).cloned()
    }

    /// Remembers claims, and forgets the least recently used ones when full.
    pub fn remember(&mut self, digest: Digest, claims: Arc<Claims>) {
        if let Some(cache) = &mut self.0 {
            cache.put(digest, claims);
        }
    }

    /// Forgets one token.
    pub fn forget(&mut self, digest: &Digest) {
        if let Some(cache) = &mut self.0 {
            cache.pop(digest);
        }
    }
}
