//! How long an HTTP answer says that it is fresh (RFC 9111 §5.2.2).

use crate::time::Span;

/// The freshness in a `Cache-Control` header: `max-age`, or none at all for `no-store` and `no-cache`. `None` where
/// it says nothing.
pub fn max_age(cache_control: &str) -> Option<Span> {
    let mut age = None;
    for directive in cache_control.split(',').map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Span::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            age = value.trim_matches('"').parse::<u32>().ok().map(|seconds| Span::from_seconds(seconds.into()));
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives() {
        for (header, seconds) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=\"60\", must-revalidate", Some(60)),
            ("max-age=60, no-store", Some(0)),
            ("no-cache", Some(0)),
            ("public", None),
            ("max-age=soon", None),
            ("", None),
        ] {
            assert_eq!(max_age(header), seconds.map(Span::from_seconds), "{header}");
        }
    }
}
