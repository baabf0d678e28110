//! What an issuer answers.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::json;

use super::request::Request;
use super::state::{Document, Fault, Shared};

pub(super) struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The `Content-Length`, true or not.
    length: usize,
}

impl Response {
    /// The answer to a request for `document`, spoilt by `fault`; nothing where
    /// the fault is not to answer.
    pub(super) fn new(shared: &Shared, document: Document, fault: &Fault, request: &Request) -> Option<Self> {
        let mut state = shared.state.lock();
        let body = match document {
            Document::Discovery => discovery(&shared.url, *fault == Fault::WrongIssuer),
            Document::Jwks if *fault == Fault::EmptySet => br#"{"keys":[]}"#.to_vec(),
            Document::Jwks => state.jwks.clone(),
        };
        let mut response = Self::ok(body);
        if let Some(value) = &state.cache_control {
            response.headers.push(("Cache-Control", value.clone()));
        }
        if state.etags && document == Document::Jwks {
            let etag = entity_tag(&response.body);
            if request.if_none_match.as_ref() == Some(&etag) && matches!(fault, Fault::None | Fault::Delay(_)) {
                state.not_modified += 1;
                response.status = 304;
                response.replace_body(Vec::new());
            }
            response.headers.push(("ETag", etag));
        }
        match fault {
            Fault::Refuse => return None,
            Fault::Status(status) => response.status = *status,
            Fault::JwkSetOnly => {
                const TYPE: &str = "application/jwk-set+json";
                response.headers.retain(|(name, _)| *name != "Content-Type");
                response.headers.push(("Content-Type", TYPE.to_owned()));
                if !request.accept.as_ref().is_some_and(|types| types.split(", ").any(|taken| taken == TYPE)) {
                    response.status = 406;
                }
            }
            // Neither JSON nor UTF-8.
            Fault::Garbage => response.replace_body(b"<html>\xff\xfe{\"keys\":[".to_vec()),
            Fault::Oversized(size) => {
                let mut body = response.body.clone();
                body.resize(body.len().max(*size), b' ');
                response.replace_body(body);
            }
            Fault::Redirect(location) => {
                response.status = 302;
                response.headers.push(("Location", location.clone()));
            }
            Fault::Truncated => response.length += 100,
            Fault::None | Fault::Delay(_) | Fault::Hang | Fault::EmptySet | Fault::WrongIssuer | Fault::Trickle(_) => {}
        }
        Some(response)
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, ..Self::ok(b"{}".to_vec()) }
    }

    fn ok(body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned()), ("Connection", "close".to_owned())];
        Self { status: 200, headers, length: body.len(), body }
    }

    fn replace_body(&mut self, body: Vec<u8>) {
        self.length = body.len();
        self.body = body;
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // The reason phrase may be empty, the space before it may not go (RFC 9112 section 4).
        let mut head = format!("HTTP/1.1 {} \r\nContent-Length: {}\r\n", self.status, self.length);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn entity_tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:x}\"", hasher.finish())
}

fn discovery(url: &str, wrong_issuer: bool) -> Vec<u8> {
    let issuer = if wrong_issuer { "https://other-issuer.example" } else { url };
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{url}/jwks.json"),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })
    .to_string()
    .into_bytes()
}
