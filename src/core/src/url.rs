//! What counts as a URL in settings and documents (RFC 3986).

use http::Uri;
use http::uri::Authority;

/// Whether the text is an `https:` or `http:` URL with a host, with a port of 1 to 65535 or none, and without spaces,
/// credentials or fragment.
pub fn is_url(text: &str) -> bool {
    // `Uri` takes other spellings of the scheme, and drops a fragment.
    let plain = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    plain && text.parse().is_ok_and(|uri: Uri| uri.authority().is_some_and(is_host_and_port))
}

/// Whether the authority is a host and at most a port: credentials would come first.
fn is_host_and_port(authority: &Authority) -> bool {
    let host = authority.host();
    let is_host = match host.strip_prefix('[') {
        Some(address) => address != "]",
        // Brackets are for IPv6 addresses alone (RFC 3986 §3.2.2).
        None => !host.is_empty() && !host.contains(['[', ']']),
    };
    let rest = authority.as_str().strip_prefix(host);
    is_host && rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}
