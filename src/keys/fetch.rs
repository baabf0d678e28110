//! One fetch of keys: a file, a JWKS URL, or discovery and then the JWKS URL. It blocks, within bounds, and touches
//! nothing of PostgreSQL, so that it can run on a thread of its own.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use pg_jwks_core::bounds::MAX_DOCUMENT_BYTES;
use pg_jwks_core::jwks::{KeySet, Origin};
use pg_jwks_core::policy::Source;
use pg_jwks_core::time::Span;
use pg_jwks_core::{discovery, http_caching};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::settings::Network;

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// In a file.
    File(PathBuf),
    /// At a JWKS URL.
    Url(String),
    /// At the JWKS URL that this issuer's discovery document names.
    Discovery(String),
}

impl Location {
    /// The location of a source that is not in a setting.
    pub fn of(source: &Source) -> Self {
        match source {
            Source::File(path) => Self::File(path.clone()),
            Source::Url(url) => Self::Url(url.clone()),
            Source::Discovery(issuer) => Self::Discovery(issuer.clone()),
            Source::Inline(_) | Source::Unset => unreachable!("these sources are not fetched"),
        }
    }

    /// The URL, where it is without TLS.
    pub fn insecure_url(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Url(url) | Self::Discovery(url) => url.starts_with("http:").then_some(url),
        }
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

/// What to fetch, and how.
pub struct Request {
    /// Where the keys are.
    pub location: Location,
    /// The network settings.
    pub network: Network,
}

/// What a fetch brought.
pub struct Fetched {
    /// The usable keys.
    pub keys: KeySet,
    /// What `Cache-Control` said.
    pub max_age: Option<Span>,
}

/// Fetches keys. The error is a full sentence.
pub fn fetch(request: &Request) -> Result<Fetched, String> {
    match &request.location {
        Location::File(path) => {
            let keys = KeySet::parse(&read_file(path)?, Origin::Local)?;
            Ok(Fetched { keys, max_age: None })
        }
        Location::Url(url) => Http::new(&request.network)?.keys(url),
        Location::Discovery(issuer) => {
            let http = Http::new(&request.network)?;
            let document = http.document(&discovery::document_url(issuer))?;
            let url = discovery::jwks_uri(&document.body, issuer)?;
            if url.starts_with("http:") && !request.network.allow_insecure_http {
                return Err(format!("The discovery document names \"{url}\", which is without TLS."));
            }
            http.keys(&url)
        }
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, String> {
    let problem = |error: io::Error| format!("The file cannot be read: {error}.");
    // Opening a FIFO would hang, so the type comes first.
    if !fs::metadata(path).map_err(problem)?.is_file() {
        return Err("It is not a regular file.".into());
    }
    let mut body = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too large.
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    File::open(path).map_err(problem)?.take(limit).read_to_end(&mut body).map_err(problem)?;
    Ok(body)
}

struct Document {
    body: Vec<u8>,
    max_age: Option<Span>,
}

struct Http {
    agent: ureq::Agent,
    deadline: Instant,
}

impl Http {
    fn new(network: &Network) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::new_with_certs(&all_trust_roots(network)?))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(!network.allow_insecure_http)
            // A redirect could lead the server to hosts that nobody configured.
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(network.connect_timeout))
            .user_agent(concat!("pg_jwks/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build();
        Ok(Self { agent: config.into(), deadline: Instant::now() + network.fetch_timeout })
    }

    fn keys(&self, url: &str) -> Result<Fetched, String> {
        let document = self.document(url)?;
        Ok(Fetched { keys: KeySet::parse(&document.body, Origin::Network)?, max_age: document.max_age })
    }

    fn document(&self, url: &str) -> Result<Document, String> {
        let problem = |error| http_problem(url, error);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("GET {url} took too long."));
        }
        let request = self.agent.get(url).config().timeout_global(Some(left)).build();
        let mut answer = request.call().map_err(problem)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(format!("GET {url} answered {}; redirects are not followed.", status.as_u16()));
        }
        if status != 200 {
            return Err(format!("GET {url} answered {}.", status.as_u16()));
        }
        let cache_control = answer.headers().get("cache-control").and_then(|value| value.to_str().ok());
        let max_age = cache_control.and_then(http_caching::max_age);
        // A body as long as the limit is too long to ureq.
        let limit = MAX_DOCUMENT_BYTES as u64 + 1;
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(problem)?;
        Ok(Document { body, max_age })
    }
}

/// What went wrong, as a full sentence.
fn http_problem(url: &str, error: ureq::Error) -> String {
    let problem = match error {
        ureq::Error::Timeout(_) => return format!("GET {url} took too long."),
        ureq::Error::BodyExceedsLimit(_) => {
            return format!("GET {url} answered more than {MAX_DOCUMENT_BYTES} bytes.");
        }
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => tls_problem(tls),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed before the answer was complete".into()
            }
            None => error.to_string(),
        },
        error => error.to_string(),
    };
    format!("GET {url} failed: {problem}.")
}

fn tls_problem(error: &rustls::Error) -> String {
    use rustls::CertificateError as Problem;
    let rustls::Error::InvalidCertificate(problem) = error else {
        return error.to_string();
    };
    let words = match problem {
        Problem::UnknownIssuer | Problem::BadSignature => "its certificate was not issued by a trusted authority",
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => "its certificate is not for this host",
        Problem::Expired | Problem::ExpiredContext { .. } => "its certificate has expired",
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => "its certificate is not valid yet",
        _ => return error.to_string(),
    };
    words.into()
}

/// The certificates of a PEM file.
pub fn trust_roots(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn all_trust_roots(network: &Network) -> Result<Vec<Certificate<'static>>, String> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    if let Some(path) = &network.ca_file {
        roots.extend(trust_roots(&read_file(path).map_err(|error| format!("pg_jwks.ca_file: {error}"))?));
    }
    Ok(roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect())
}
