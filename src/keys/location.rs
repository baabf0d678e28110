//! Where keys are.

use std::fmt;
use std::path::PathBuf;

use pg_jwks_core::jose::jwks::Trust;
use pg_jwks_core::policy::provider::Source;
use serde::{Deserialize, Serialize};

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

    /// Its URL, if that is without TLS.
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
    pub fn hint(&self) -> String {
        let check = match self {
            Self::File(_) => return "Check pg_jwks.jwks_uri, and that the server may read the file.".into(),
            Self::Url(_) => "Check pg_jwks.jwks_uri and pg_jwks.ca_file, and that the server can reach the issuer.",
            Self::Discovery(_) => {
                "Check pg_jwks.issuer and pg_jwks.ca_file, and that the server can reach the issuer; or set pg_jwks.jwks_uri."
            }
        };
        format!("{check} {KEEP_SERVING}")
    }
}

/// What keeps people in meanwhile.
const KEEP_SERVING: &str = "Until then, keys that were had serve longer if pg_jwks.jwks_max_stale is raised, and a \
    saved copy of the issuer's keys serves if pg_jwks.jwks_uri names its file.";

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file \"{}\"", path.display()),
            Self::Url(url) => write!(f, "\"{url}\""),
            Self::Discovery(issuer) => write!(f, "issuer \"{issuer}\""),
        }
    }
}
