//! A source of keys under one set of settings.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use pg_jwks_core::cache::freshness::Limits;
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::Span;
use pg_jwks_core::verification::verify::no_key_source;
use serde::{Deserialize, Serialize};

use super::location::Location;
use crate::pg::backend_local::BackendLocal;
use crate::settings::{Network, Settings};

/// A source of keys under one set of settings: keys that were fetched with other trust roots, or without TLS, do not
/// count when those settings have changed. Copies share it.
#[derive(Clone, Debug, Eq)]
pub struct KeySource {
    particulars: Arc<Particulars>,
    /// Of the particulars: maps ask for it again and again.
    hash: u64,
}

/// What tells a source from others.
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Particulars {
    /// Where.
    pub location: Location,
    /// How.
    pub network: Network,
    /// A file with a token to show to the server, if it wants one.
    pub token_file: Option<PathBuf>,
    /// The limits of its keys' life, as descriptors have them: seconds of `jwks_cache_ttl`, `jwks_refresh_cooldown` and
    /// `jwks_max_stale`.
    lives: (i64, i64, i64),
}

/// What stored keys must share with a source to be its own. Other settings may change without making them worthless.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    location: Location,
    network: NetworkTrust,
}

/// What decides whether an answer from the network is believed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NetworkTrust {
    ca_file: Option<PathBuf>,
    allow_insecure_http: bool,
}

/// What everybody may know of keys that cannot be had: the URL can have secrets in its query.
const PUBLIC_PROBLEM: &str = "Keys could not be had from where the issuer publishes them.";

impl Provenance {
    /// A text that tells it from all others.
    pub fn key(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&(&self.location, &self.network.ca_file, self.network.allow_insecure_http)).ok()
    }
}

/// The sources of a session's issuers, made when they are used first.
struct Known {
    /// [`Settings::serial`].
    settings: u64,
    /// By the address of the issuer within those settings.
    sources: HashMap<*const Provider, KeySource>,
}

static KNOWN: BackendLocal<RefCell<Option<Known>>> = BackendLocal::new(RefCell::new(None));

impl Deref for KeySource {
    type Target = Particulars;

    fn deref(&self) -> &Particulars {
        &self.particulars
    }
}

impl PartialEq for KeySource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.particulars, &other.particulars) || self.particulars == other.particulars
    }
}

impl Hash for KeySource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl From<Particulars> for KeySource {
    fn from(particulars: Particulars) -> Self {
        // The names of sources are the operator's, so the hash needs no secret.
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(&particulars);
        Self { particulars: Arc::new(particulars), hash }
    }
}

impl KeySource {
    /// Where a provider of these settings has its keys. An error if they come from nowhere, or only without TLS.
    pub fn of(provider: &Provider, settings: &Settings) -> Result<Self, Rejection> {
        KNOWN.with_borrow_mut(|known| {
            let known = match known {
                Some(known) if known.settings == settings.serial => known,
                _ => known.insert(Known { settings: settings.serial, sources: HashMap::new() }),
            };
            if let Some(source) = known.sources.get(&ptr::from_ref(provider)) {
                return Ok(source.clone());
            }
            let source = Self::from(Particulars::of(provider, settings)?);
            known.sources.insert(provider, source.clone());
            Ok(source)
        })
    }

    /// As text, by which processes agree on a source.
    pub fn descriptor(&self) -> String {
        serde_json::to_string(&*self.particulars).unwrap_or_default()
    }

    /// Reads a descriptor.
    pub fn from_descriptor(text: &str) -> Option<Self> {
        serde_json::from_str::<Particulars>(text).ok().map(Self::from)
    }
}

impl Particulars {
    fn of(provider: &Provider, settings: &Settings) -> Result<Self, Rejection> {
        if let Some(rejection) = no_key_source(provider) {
            return Err(rejection);
        }
        let Some(location) = Location::of(&provider.source) else {
            unreachable!("inline keys have no location, and their callers do not ask for one")
        };
        if let Some(url) = location.insecure_url().filter(|_| !settings.network.allow_insecure_http) {
            let detail = format!("Keys are not fetched from \"{url}\" without TLS.");
            return Err(Rejection::new(Reason::KeysUnavailable, detail)
                .publicly(PUBLIC_PROBLEM)
                .hint("Use an https: URL, or set pg_jwks.allow_insecure_http for tests on one machine."));
        }
        let Limits { ttl, cooldown, max_stale } = settings.limits;
        let lives = (ttl.seconds(), cooldown.seconds(), max_stale.seconds());
        Ok(Self { location, network: settings.network.clone(), token_file: provider.token_file.clone(), lives })
    }

    /// How long its keys live.
    pub fn limits(&self) -> Limits {
        let (ttl, cooldown, max_stale) = self.lives;
        Limits {
            ttl: Span::from_seconds(ttl),
            cooldown: Span::from_seconds(cooldown),
            max_stale: Span::from_seconds(max_stale),
        }
    }

    /// What stored keys must share with this source to be its own: the same place, the same trust roots, and TLS or
    /// not.
    pub fn provenance(&self) -> Provenance {
        let Network { ca_file, allow_insecure_http, .. } = self.network.clone();
        Provenance { location: self.location.clone(), network: NetworkTrust { ca_file, allow_insecure_http } }
    }

    /// The bound of one fetch.
    pub fn fetch_timeout(&self) -> Duration {
        self.network.fetch_timeout
    }

    /// That keys cannot be had from here. `error` and `tries` are full sentences.
    pub fn unavailable(&self, error: &str, tries: String) -> Rejection {
        Rejection::new(Reason::KeysUnavailable, format!("{} {tries}", self.location.problem(error)))
            .publicly(format!("{PUBLIC_PROBLEM} {tries}"))
            .hint(self.location.hint())
    }
}
