//! What counts as a URL in settings and documents (RFC 3986).

/// Whether the text is an `https:` or `http:` URL with a host, with a port of 1 to 65535 or none, and without spaces,
/// credentials or fragment.
pub fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    // The colons of an IPv6 address are in brackets (RFC 3986 §3.2.2).
    let port_from = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[port_from..].split_once(':') {
        Some((before, port)) => (&authority[..port_from + before.len()], Some(port)),
        None => (authority, None),
    };
    let whole = match host.strip_prefix('[') {
        Some(address) => address.len() > 1 && address.find(']') == Some(address.len() - 1),
        None => !host.is_empty() && !host.contains(['[', ']']),
    };
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && whole && port.is_none_or(is_port) && !authority.contains('@') && !text.contains('#')
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}
