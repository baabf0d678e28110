//! One GET request, within a deadline: what is sent with it, and what the answer says.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use once_cell::sync::Lazy;
use pg_jwks_core::bounds::{MAX_DOCUMENT_BYTES, MAX_TOKEN_BYTES};
use pg_jwks_core::cache::http_caching;
use pg_jwks_core::certificates::certificates;
use pg_jwks_core::excerpt::quoted;
use pg_jwks_core::time::Span;
use rustls::crypto::CryptoProvider;
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::problem::problem;
use super::proxy::proxy;
use super::read_file;
use crate::settings::Network;

/// What came back.
pub enum Answer {
    /// A document, how long it is fresh, and its entity tag.
    Document { body: Vec<u8>, max_age: Option<Span>, etag: Option<String> },
    /// The document of the entity tag is still good, for so long.
    Unchanged(Option<Span>),
    /// There is no document here. The text is a sentence without its full stop.
    Missing(String),
}

/// A token to show (RFC 6750 §2.1), to one server alone.
pub struct Bearer<'a> {
    /// The file that has it, which is read for each request: what makes it may replace it.
    pub file: &'a Path,
    /// The scheme, host and port of the server.
    pub origin: String,
}

/// The scheme, host and port of a URL.
pub fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase())
}

/// The cryptography of TLS, made once: it is the same for every fetch.
static CRYPTO: Lazy<Arc<CryptoProvider>> = Lazy::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// What the requests of one fetch have in common.
pub struct Http {
    agent: ureq::Agent,
    deadline: Instant,
}

impl Http {
    /// For `url`, and others of its scheme, until then: without TLS no trust roots are read. The error is a full sentence.
    pub fn new(network: &Network, url: &str, deadline: Instant) -> Result<Self, String> {
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

    /// Until when its requests may last.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Asks for a document, unless it is still the one of this entity tag. The error is a full sentence.
    pub fn get(
        &self,
        url: &str,
        network: &Network,
        etag: Option<&str>,
        bearer: Option<&Bearer>,
    ) -> Result<Answer, String> {
        let proxy = proxy(url, network.http_proxy.as_deref())?;
        let through = proxy.as_ref().map(|proxy| format!(" through proxy \"{}:{}\"", proxy.host(), proxy.port()));
        let what = format!("GET {url}{}", through.unwrap_or_default());
        let problem = |error| problem(&what, error);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("{what} took too long."));
        }
        let mut request = self.agent.get(url);
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let shown_to = bearer.filter(|bearer| bearer.origin == origin(url));
        if let Some(bearer) = shown_to {
            request = request.header("authorization", format!("Bearer {}", token(bearer.file)?));
        }
        let mut answer = request.config().proxy(proxy).timeout_global(Some(left)).build().call().map_err(problem)?;
        let status = answer.status();
        let max_age = freshness(answer.headers());
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Answer::Unchanged(max_age)),
            StatusCode::NOT_MODIFIED => return Err(format!("{what} answered 304 to a request without condition.")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if bearer.is_some() && shown_to.is_none() => {
                return Err(format!(
                    "{what} answered {}; the token of jwks_token_file is not shown to another server than the configured one.",
                    status.as_u16()
                ));
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Ok(Answer::Missing(format!("{what} answered {}", status.as_u16())));
            }
            _ if status.is_redirection() => {
                return Err(format!("{what} answered {}; redirects are not followed.", status.as_u16()));
            }
            _ => return Err(format!("{what} answered {}.", status.as_u16())),
        }
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(encoding) = header("content-encoding").filter(|encoding| !is_readable(encoding)) {
            return Err(format!("{what} answered in {}, which was not asked for.", quoted(&encoding)));
        }
        let etag = header("etag");
        // A body as long as the limit is too long to ureq.
        let limit = MAX_DOCUMENT_BYTES as u64 + 1;
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(problem)?;
        Ok(Answer::Document { body, max_age, etag })
    }
}

/// Whether a body of this `Content-Encoding` (RFC 9110 §8.4) can be read.
fn is_readable(encoding: &str) -> bool {
    ["", "identity", "gzip", "x-gzip"].iter().any(|known| encoding.trim().eq_ignore_ascii_case(known))
}

/// The token in a file, without the white space around it. The error is a full sentence.
fn token(file: &Path) -> Result<String, String> {
    let problem = |what: &str| format!("File \"{}\" of jwks_token_file {what}.", file.display());
    let content = read_file(file).map_err(|error| format!("{} {error}", problem("has no token")))?;
    let token = content.trim_ascii();
    match std::str::from_utf8(token) {
        Ok(text) if !text.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.iter().all(u8::is_ascii_graphic) => {
            Ok(text.to_owned())
        }
        _ => Err(problem("must have one token: a word of visible ASCII characters")),
    }
}

/// How long an answer says that it is fresh, less the time for which a cache on the way has kept it (RFC 9111 §4.2, §5.1).
fn freshness(headers: &HeaderMap) -> Option<Span> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let life = header("cache-control").and_then(http_caching::max_age);
    let life = life.or_else(|| freshness_by_dates(header("expires")?, header("date")))?;
    let age = header("age").and_then(|age| age.trim().parse::<u32>().ok()).map_or(0, i64::from);
    Some(Span::from_seconds((life.seconds() - age).max(0)))
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
