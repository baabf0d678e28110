//! Where keys are, and how they are fetched from there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use pg_jwks_core::cache::freshness::Limits;
use pg_jwks_core::jose::jwks::Origin as Trust;
use pg_jwks_core::policy::provider::Source;
use pg_jwks_core::time::Span;
use serde::{Deserialize, Serialize};

use crate::settings::{Network, Settings};

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// In a file.
    File(PathBuf),
    /// At a JWKS URL.
    Url(String),
    /// At the JWKS URL that this issuer's discovery document names.
    Discovery(String),
}

/// A source of keys under one set of settings: keys that were fetched with other trust roots, or without TLS, do not
/// count when those settings have changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Where.
    pub location: Location,
    /// How.
    pub network: Network,
    /// Lives of its keys: seconds of `jwks_cache_ttl`, `jwks_refresh_cooldown` and `jwks_max_stale`.
    lives: (i64, i64, i64),
}

impl Origin {
    /// The origin of a source under the settings in force.
    pub fn new(location: Location, settings: &Settings) -> Self {
        let Limits { ttl, cooldown, max_stale } = settings.limits;
        let lives = (ttl.seconds(), cooldown.seconds(), max_stale.seconds());
        Self { location, network: settings.network.clone(), lives }
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

    /// What keys from there are trusted for: the same place, the same trust roots, and TLS or not. Other settings may
    /// change without making stored keys worthless.
    pub fn trust(&self) -> impl Serialize + PartialEq + '_ {
        (&self.location, &self.network.ca_file, self.network.allow_insecure_http)
    }

    /// The bound of one fetch.
    pub fn fetch_timeout(&self) -> Duration {
        self.network.fetch_timeout
    }

    /// As text, by which processes agree on an origin.
    pub fn descriptor(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a descriptor.
    pub fn from_descriptor(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Location {
    /// The location of a source that must be read or fetched.
    pub fn of(source: &Source) -> Option<Self> {
        match source {
            Source::File(path) => Some(Self::File(path.clone())),
            Source::Url(url) => Some(Self::Url(url.clone())),
            Source::Discovery(issuer) => Some(Self::Discovery(issuer.clone())),
            Source::Inline(_) | Source::Unset => None,
        }
    }

    /// How far the documents from there are trusted.
    pub fn trust(&self) -> Trust {
        match self {
            Self::File(_) => Trust::Local,
            Self::Url(_) | Self::Discovery(_) => Trust::Network,
        }
    }

    /// The URL, where it is without TLS.
    pub fn insecure_url(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Url(url) | Self::Discovery(url) => url.starts_with("http:").then_some(url),
        }
    }

    /// That keys cannot be had from here, and why, in full sentences.
    pub fn problem(&self, error: &str) -> String {
        format!("Keys could not be had from {self}. {error}")
    }

    /// What an operator can do when keys cannot be had.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(_) => "Check pg_jwks.jwks_uri, and that the server may read the file.",
            Self::Url(_) => "Check pg_jwks.jwks_uri and pg_jwks.ca_file, and that the server can reach the issuer.",
            Self::Discovery(_) => {
                "Check pg_jwks.issuer and pg_jwks.ca_file, and that the server can reach the issuer; or set pg_jwks.jwks_uri."
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file \"{}\"", path.display()),
            Self::Url(url) => write!(f, "\"{url}\""),
            Self::Discovery(issuer) => write!(f, "issuer \"{issuer}\""),
        }
    }
}
