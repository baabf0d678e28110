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

/// Whether the text is the `https:` or `http:` URL of a proxy: a host, and at most credentials before it, a port, and a slash.
pub fn is_proxy_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    !host.contains(['/', '?'])
        && is_url(&format!("{scheme}://{host}"))
        && format!("{scheme}://{rest}").parse::<Uri>().is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_with_a_port_and_credentials_at_most() {
        for good in [
            "http://proxy.example:3128",
            "https://proxy.example",
            "http://proxy.example/",
            "http://user:p%40ss@proxy.example:3128",
            "http://[::1]:3128",
        ] {
            assert!(is_proxy_url(good), "{good}");
        }
        for bad in [
            "",
            "proxy.example:3128",
            "socks5://proxy.example",
            "http://",
            "http://user:pw@",
            "http://proxy.example/path",
            "http://proxy.example?x",
            "http://proxy.example:0",
            "http://a b",
        ] {
            assert!(!is_proxy_url(bad), "{bad}");
        }
    }
}
