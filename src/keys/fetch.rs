//! One fetch of keys: a file, a JWKS URL, or discovery and then the JWKS URL. It blocks, within bounds, and touches
//! nothing of PostgreSQL, so that it can run on a thread of its own.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use once_cell::sync::Lazy;
use pg_jwks_core::bounds::MAX_DOCUMENT_BYTES;
use pg_jwks_core::cache::http_caching;
use pg_jwks_core::certificates::certificates;
use pg_jwks_core::discovery;
use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::time::Span;
use rustls::crypto::CryptoProvider;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::location::Location;
use super::source::KeySource;
use crate::settings::Network;

/// What a fetch brought.
pub struct Fetched {
    /// The usable keys.
    pub keys: KeySet,
    /// The document that they are from.
    pub document: Vec<u8>,
    /// How long the answer said that it is fresh.
    pub max_age: Option<Span>,
    /// What to send with the next request.
    pub validators: Validators,
}

/// How a fetch ended well.
pub enum Outcome {
    /// With a document.
    Fetched(Fetched),
    /// With the word that the last one still holds, for so long (RFC 9110 §15.4.5).
    Unchanged(Option<Span>),
}

/// The entity tag of the last answer, and the URL that gave it.
#[derive(Clone, Debug, Default)]
pub struct Validators {
    etag: Option<(String, String)>,
}

/// Fetches keys. The error is a full sentence.
pub fn fetch(source: &KeySource, validators: &Validators) -> Result<Outcome, String> {
    match &source.location {
        Location::File(path) => {
            let document = read_file(path)?;
            let keys = KeySet::parse(&document, source.location.trust())?;
            if keys.has_secret() {
                check_private(path)?;
            }
            Ok(Outcome::Fetched(Fetched { keys, document, max_age: None, validators: Validators::default() }))
        }
        Location::Url(url) => Http::new(&source.network, url)?.keys(url, validators),
        Location::Discovery(issuer) => {
            let url = discovery::document_url(issuer);
            let mut http = Http::new(&source.network, &url)?;
            let Some(document) = http.document(&url, None)?.body else {
                return Err(format!("GET {url} answered 304 to a request without condition."));
            };
            let url = discovery::jwks_uri(&document, issuer)?;
            if url.starts_with("http:") && !source.network.allow_insecure_http {
                return Err(format!("The discovery document names \"{url}\", which is without TLS."));
            }
            if url.starts_with("https:") && !issuer.starts_with("https:") {
                http = Http { deadline: http.deadline, ..Http::new(&source.network, &url)? };
            }
            http.keys(&url, validators)
        }
    }
}

/// A file with a shared secret must be as private as the server's own key files: nobody else may read it, but a group may if
/// it is root's. The error is a full sentence.
fn check_private(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| format!("The file cannot be examined: {error}."))?;
    let others = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    match metadata.mode() & others {
        0 => Ok(()),
        _ => Err("The file has a shared secret, and others may read or write it: it must have permissions u=rw (0600) or less, \
                  or u=rw,g=r (0640) or less if it is root's."
            .into()),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
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
    /// `None` if it has not changed.
    body: Option<Vec<u8>>,
    max_age: Option<Span>,
    etag: Option<String>,
}

/// The cryptography of TLS, made once: it is the same for every fetch.
static CRYPTO: Lazy<Arc<CryptoProvider>> = Lazy::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

struct Http {
    agent: ureq::Agent,
    deadline: Instant,
}

impl Http {
    /// For `url`, and others of its scheme: without TLS no trust roots are read.
    fn new(network: &Network, url: &str) -> Result<Self, String> {
        let deadline = Instant::now() + network.fetch_timeout;
        let roots = if url.starts_with("https:") { all_trust_roots(network)? } else { Vec::new() };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(CRYPTO.clone())
            .root_certs(RootCerts::new_with_certs(&roots))
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
            // Some issuers serve keys as the first type only (RFC 7517 §8.5.2), and answer 406 to who does not ask for it.
            .accept("application/jwk-set+json, application/json, */*;q=0.5")
            .build();
        Ok(Self { agent: config.into(), deadline })
    }

    fn keys(&self, url: &str, validators: &Validators) -> Result<Outcome, String> {
        let etag = validators.etag.as_ref().filter(|(of, _)| of == url).map(|(_, etag)| etag.as_str());
        let Document { body, max_age, etag } = self.document(url, etag)?;
        let Some(document) = body else { return Ok(Outcome::Unchanged(max_age)) };
        let keys = KeySet::parse(&document, Trust::Network)?;
        let validators = Validators { etag: etag.map(|etag| (url.to_owned(), etag)) };
        Ok(Outcome::Fetched(Fetched { keys, document, max_age, validators }))
    }

    fn document(&self, url: &str, etag: Option<&str>) -> Result<Document, String> {
        let problem = |error| http_problem(url, error);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("GET {url} took too long."));
        }
        let mut request = self.agent.get(url);
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let mut answer = request.config().timeout_global(Some(left)).build().call().map_err(problem)?;
        let status = answer.status();
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let max_age = header("cache-control").and_then(http_caching::max_age);
        let max_age = max_age.or_else(|| freshness_by_dates(header("expires")?, header("date")));
        // A cache on the way has kept the answer for that long (RFC 9111 §5.1).
        let age = header("age").and_then(|age| age.trim().parse::<u32>().ok()).map_or(0, i64::from);
        let max_age = max_age.map(|life| Span::from_seconds((life.seconds() - age).max(0)));
        if status == 304 && etag.is_some() {
            return Ok(Document { body: None, max_age, etag: None });
        }
        if status.is_redirection() {
            return Err(format!("GET {url} answered {}; redirects are not followed.", status.as_u16()));
        }
        if status != 200 {
            return Err(format!("GET {url} answered {}.", status.as_u16()));
        }
        let etag = header("etag").map(str::to_owned);
        // A body as long as the limit is too long to ureq.
        let limit = MAX_DOCUMENT_BYTES as u64 + 1;
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(problem)?;
        Ok(Document { body: Some(body), max_age, etag })
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

/// `Expires` less `Date` (RFC 9111 §5.3); an unreadable `Expires` means stale.
fn freshness_by_dates(expires: &str, date: Option<&str>) -> Option<Span> {
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    let Ok(expires) = httpdate::parse_http_date(expires) else { return Some(Span::ZERO) };
    let left = expires.duration_since(now).unwrap_or_default();
    Some(Span::from_seconds(i64::try_from(left.as_secs()).unwrap_or(i64::MAX)))
}

fn all_trust_roots(network: &Network) -> Result<Vec<Certificate<'static>>, String> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    if let Some(path) = &network.ca_file {
        roots.extend(certificates(&read_file(path).map_err(|error| format!("pg_jwks.ca_file: {error}"))?));
    }
    Ok(roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect())
}
