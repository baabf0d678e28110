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

/// Whether there are no credentials: then the host comes first.
fn is_host_and_port(authority: &Authority) -> bool {
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host);
    !["", "[]"].contains(&host)
        && port.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}
