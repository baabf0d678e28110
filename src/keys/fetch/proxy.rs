//! Which proxy a request goes through.

use std::env;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

/// The proxy for `url`: `setting` if there is one, and else what the environment of the server says, as other programs read it.
/// The error is a full sentence.
pub fn proxy(url: &str, setting: Option<&str>) -> Result<Option<Proxy>, String> {
    let (name, proxy) = match setting {
        Some(setting) => ("pg_jwks.http_proxy", setting.to_owned()),
        None => match of_environment(url) {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    match Proxy::new(&proxy) {
        Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => Ok(Some(proxy)),
        // Its text can have a password.
        _ => Err(format!("{name} is not the URL of an HTTP proxy.")),
    }
}

/// The variable for URLs of this scheme and its value, unless `NO_PROXY` names the host.
fn of_environment(url: &str) -> Option<(&'static str, String)> {
    let names = if url.starts_with("https:") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let value = |names: [&'static str; 2]| {
        let mut values = names.into_iter().filter_map(|name| Some((name, env::var(name).ok()?)));
        values.find(|(_, value)| !value.trim().is_empty())
    };
    let found = value(names)?;
    match value(["NO_PROXY", "no_proxy"]) {
        Some((_, list)) if is_excepted(url, &list) => None,
        _ => Some(found),
    }
}

/// Whether the list has the host of this URL: a name stands for the hosts below it too.
fn is_excepted(url: &str, list: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let mut exceptions = Proxy::builder(ProxyProtocol::Http).host("unused");
    for entry in list.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        let name = entry.trim_start_matches('*').trim_start_matches('.');
        exceptions = match name {
            "" => exceptions.no_proxy("*"),
            name => exceptions.no_proxy(name).no_proxy(&format!(".{name}")),
        };
    }
    exceptions.build().is_ok_and(|exceptions| exceptions.is_no_proxy(&uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_hosts_below_it() {
        for (list, host, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "login.example.com", true),
            (".example.com", "login.example.com", true),
            ("*.example.com", "login.example.com", true),
            ("localhost, example.com", "example.com", true),
            ("localhost example.com", "example.com", true),
            ("EXAMPLE.com", "example.COM", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("*", "example.com", true),
            ("example.com", "badexample.com", false),
            ("login.example.com", "example.com", false),
            (" , ", "example.com", false),
            ("", "example.com", false),
        ] {
            assert_eq!(is_excepted(&format!("https://{host}:8443/keys"), list), expected, "{list} {host}");
        }
    }
}
