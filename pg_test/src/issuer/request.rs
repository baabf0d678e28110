//! What a client asks of an issuer.

use std::io::{self, Read};

const MAX_REQUEST: usize = 16 * 1024;

/// What a client asks for.
pub(super) struct Request {
    pub(super) path: String,
    /// The media types that it takes.
    pub(super) accept: Option<String>,
    /// What it shows for itself (RFC 9110 section 11.6.2).
    pub(super) authorization: Option<String>,
    /// The entity tag that it has.
    pub(super) if_none_match: Option<String>,
}

/// A GET request; nothing where the client said nothing sensible.
pub(super) fn request(stream: &mut impl Read) -> io::Result<Option<Request>> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut buffer)?;
        if length == 0 || request.len() > MAX_REQUEST {
            return Ok(None);
        }
        request.extend_from_slice(&buffer[..length]);
    }
    let request = String::from_utf8_lossy(&request);
    let header = |wanted: &str| {
        let mut headers = request.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let (accept, authorization, if_none_match) = (header("accept"), header("authorization"), header("if-none-match"));
    let mut words = request.split(' ');
    Ok(match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => Some(Request { path: path.to_owned(), accept, authorization, if_none_match }),
        _ => None,
    })
}
