//! One fetch of keys: a file, a JWKS URL, or discovery and then the JWKS URL. It blocks, within bounds, and touches
//! nothing of PostgreSQL, so that it can run on a thread of its own.

mod http;
mod problem;
mod proxy;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use flate2::read::GzDecoder;
use pg_jwks_core::bounds::MAX_DOCUMENT_BYTES;
use pg_jwks_core::discovery::{self, document_url, metadata_urls};
use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::time::Span;

use super::location::Location;
use super::source::KeySource;
use http::{Answer, Bearer, Http};

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
    let over_http = |url: &str| -> Result<Session, String> {
        let bearer = source.token_file.as_ref().map(|file| Bearer { file, origin: http::origin(url) });
        Ok(Session {
            source,
            http: Http::new(&source.network, url, Instant::now() + source.network.fetch_timeout)?,
            bearer,
        })
    };
    match &source.location {
        Location::File(path) => {
            let document = unzipped(read_file(path)?, "The file")?;
            let keys = KeySet::parse(&document, source.location.trust())?;
            if keys.has_secret() {
                check_private(path)?;
            }
            Ok(Outcome::Fetched(Fetched { keys, document, max_age: None, validators: Validators::default() }))
        }
        Location::Url(url) => over_http(url)?.keys(url, validators),
        Location::Discovery(issuer) => {
            let mut session = over_http(issuer)?;
            let url = discovery::jwks_uri(&session.discovered(issuer)?, issuer)?;
            if url.starts_with("http:") && !source.network.allow_insecure_http {
                return Err(format!("The discovery document names \"{url}\", which is without TLS."));
            }
            if url.starts_with("https:") && !issuer.starts_with("https:") {
                session.http = Http::new(&source.network, &url, session.http.deadline())?;
            }
            session.keys(&url, validators)
        }
    }
}

/// The requests of one fetch.
struct Session<'s> {
    source: &'s KeySource,
    http: Http,
    bearer: Option<Bearer<'s>>,
}

impl Session<'_> {
    fn get(&self, url: &str, etag: Option<&str>) -> Result<Answer, String> {
        self.http.get(url, &self.source.network, etag, self.bearer.as_ref())
    }

    /// The discovery document of OpenID Connect or, if there is none, that of RFC 8414.
    fn discovered(&self, issuer: &str) -> Result<Vec<u8>, String> {
        let mut missing = Vec::new();
        let mut urls = vec![document_url(issuer)];
        urls.extend(metadata_urls(issuer));
        urls.dedup();
        for url in urls {
            match self.get(&url, None)? {
                Answer::Document { body, .. } => return unzipped(body, &format!("What GET {url} answered")),
                Answer::Missing(problem) => missing.push(problem),
                Answer::Unchanged(_) => unreachable!("there was no condition"),
            }
        }
        Err(format!("There is no discovery document: {}.", missing.join(", ")))
    }

    fn keys(&self, url: &str, validators: &Validators) -> Result<Outcome, String> {
        let etag = validators.etag.as_ref().filter(|(of, _)| of == url).map(|(_, etag)| etag.as_str());
        match self.get(url, etag)? {
            Answer::Missing(problem) => Err(format!("{problem}.")),
            Answer::Unchanged(max_age) => Ok(Outcome::Unchanged(max_age)),
            Answer::Document { body, max_age, etag } => {
                let document = unzipped(body, &format!("What GET {url} answered"))?;
                let keys = KeySet::parse(&document, Trust::Network)?;
                let validators = Validators { etag: etag.map(|etag| (url.to_owned(), etag)) };
                Ok(Outcome::Fetched(Fetched { keys, document, max_age, validators }))
            }
        }
    }
}

/// A document that may be compressed with gzip: some servers send it so to those who did not ask for it. `what` begins the
/// sentence of an error.
fn unzipped(document: Vec<u8>, what: &str) -> Result<Vec<u8>, String> {
    const GZIP: &[u8] = &[0x1F, 0x8B];
    if !document.starts_with(GZIP) {
        return Ok(document);
    }
    let mut unzipped = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too large.
    GzDecoder::new(&document[..])
        .take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut unzipped)
        .map_err(|_| format!("{what} begins as gzip does, and is not gzip."))?;
    Ok(unzipped)
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
