//! What a backend keeps for each source of keys.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::source::KeySource;
use crate::settings::max_key_sources;

/// A map of at most as many sources as the cluster keeps: more include those of former settings, so that it is emptied
/// rather than grown. The names of sources are the operator's, so its hashes need no secret.
pub struct PerSource<T>(RefCell<HashMap<KeySource, T, BuildHasherDefault<DefaultHasher>>>);

impl<T> PerSource<T> {
    /// A map without entries.
    pub const fn new() -> Self {
        Self(RefCell::new(HashMap::with_hasher(BuildHasherDefault::new())))
    }

    /// Acts on what is kept for a source; `None` if nothing is. `act` must not raise, and must not use the map.
    pub fn with<R>(&self, source: &KeySource, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.borrow_mut().get_mut(source).map(act)
    }

    /// Keeps something for a source, in place of what was kept for it.
    pub fn keep(&self, source: &KeySource, kept: T) {
        let mut map = self.0.borrow_mut();
        if map.len() >= max_key_sources() && !map.contains_key(source) {
            map.clear();
        }
        map.insert(source.clone(), kept);
    }

    /// Takes out what is kept for a source.
    pub fn take(&self, source: &KeySource) -> Option<T> {
        self.0.borrow_mut().remove(source)
    }

    /// Acts on all that is kept.
    pub fn for_each(&self, mut act: impl FnMut(&KeySource, &mut T)) {
        self.0.borrow_mut().iter_mut().for_each(|(source, kept)| act(source, kept));
    }
}
