//! What all but fits, in words: most refused tokens are a mistake of one character.

/// How a text that should equal another differs from it, if the difference is a usual mistake.
pub fn difference(seen: &str, expected: &str) -> Option<&'static str> {
    let without_slash = |text: &str| text.trim_end_matches('/').to_owned();
    let without_scheme = |text: &str| text.split_once("://").map_or(text, |(_, rest)| rest).to_owned();
    let same = |form: &dyn Fn(&str) -> String| form(seen) == form(expected);
    if seen == expected {
        None
    } else if same(&|text| text.trim().to_owned()) {
        Some("Only white space around it differs.")
    } else if same(&without_slash) {
        Some("Only the slash at the end differs.")
    } else if same(&str::to_ascii_lowercase) {
        Some("Only upper and lower case differ.")
    } else if same(&without_scheme) {
        Some("Only the scheme of the URL differs.")
    } else if same(&|text| without_scheme(&without_slash(text.trim())).to_ascii_lowercase()) {
        Some("Only the scheme, the case or the slash at the end differ.")
    } else if host(seen).is_some_and(|own| host(expected) == Some(own)) {
        Some("The host is the same, and the path is another: another realm, tenant or version of the issuer.")
    } else {
        None
    }
}

/// The same for the first pair that has such a difference.
pub fn first_difference<'t>(
    seen: impl IntoIterator<Item = &'t str>,
    expected: impl IntoIterator<Item = &'t str> + Clone,
) -> Option<&'static str> {
    seen.into_iter().find_map(|seen| expected.clone().into_iter().find_map(|expected| difference(seen, expected)))
}

fn host(url: &str) -> Option<&str> {
    url.split_once("://").and_then(|(_, rest)| rest.split('/').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_mistakes_are_named() {
        const URL: &str = "https://a.example/realms/one";
        for (seen, words) in [
            ("https://a.example/realms/one/", Some("slash")),
            (" https://a.example/realms/one\n", Some("white space")),
            ("https://A.example/realms/One", Some("case")),
            ("http://a.example/realms/one", Some("scheme")),
            ("a.example/realms/one", Some("scheme")),
            ("A.example/realms/one/", Some("scheme, the case or the slash")),
            ("https://a.example/realms/two", Some("another realm")),
            ("https://b.example/realms/one", None),
            ("one", None),
            ("", None),
            (URL, None),
        ] {
            let said = difference(seen, URL);
            assert_eq!(said.is_some(), words.is_some(), "{seen}: {said:?}");
            assert!(said.unwrap_or_default().contains(words.unwrap_or_default()), "{seen}: {said:?}");
        }
        assert_eq!(difference("app", "App"), Some("Only upper and lower case differ."));
    }
}
