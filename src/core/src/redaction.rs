//! Finding tokens in texts that are about to be logged.

use std::ops::Range;

/// The text with each token in it replaced by `<JWT>`, or `None` where it has none. It is never longer than before.
///
/// A token begins with the base64url form of `{"`, which is `eyJ`, or of `{` and white space, which begins with `ey`
/// or `ew`; it goes on over at least one dot. Truncated and malformed tokens are found too. Takes time in proportion
/// to the text.
pub fn redacted(text: &[u8]) -> Option<Vec<u8>> {
    let mut token = next_token(text, 0)?;
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    loop {
        out.extend_from_slice(&text[copied..token.start]);
        out.extend_from_slice(b"<JWT>");
        copied = token.end;
        match next_token(text, copied) {
            Some(next) => token = next,
            None => break,
        }
    }
    out.extend_from_slice(&text[copied..]);
    Some(out)
}

/// Whether the text has a token in it.
pub fn has_token(text: &[u8]) -> bool {
    next_token(text, 0).is_some()
}

/// The settings whose values can be shared secrets.
const SECRET_SETTINGS: [&str; 2] = ["pg_jwks.jwks", "pg_jwks.providers"];

/// A setting whose value can be a shared secret, where the text names one, however it is spelt: SQL allows quotes and
/// white space in names.
pub fn secret_setting(text: &[u8]) -> Option<&'static str> {
    let plain: Vec<u8> = text.iter().filter(|byte| **byte != b'"' && !byte.is_ascii_whitespace()).copied().collect();
    // pg_jwks.jwks_uri is another setting.
    let named = |name: &[u8]| {
        plain.windows(name.len()).enumerate().any(|(at, window)| {
            window.eq_ignore_ascii_case(name) && plain.get(at + name.len()).is_none_or(|next| *next != b'_')
        })
    };
    SECRET_SETTINGS.into_iter().find(|name| named(name.as_bytes()))
}

/// The first token at or behind `from`.
fn next_token(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    while at < text.len() {
        let word = text[at..].iter().take_while(|byte| base64url(**byte)).count();
        let end = at + word;
        // Padding is an error in a token, and easily taken off.
        let dot = end + text[end..].iter().take_while(|byte| **byte == b'=').count();
        if text.get(dot) == Some(&b'.')
            && let Some(offset) = header_offset(&text[at..end])
        {
            let rest = text[dot..].iter().take_while(|byte| base64url(**byte) || b".=+/".contains(byte)).count();
            return Some(at + offset..dot + rest);
        }
        at = end + 1;
    }
    None
}

/// Shorter first parts are no header: `{"alg":"x"}` alone has 15 characters in base64url.
const SHORTEST_HEADER: usize = 12;

/// `{"alg":`, `{"kid":`, `{"typ":` and `{"x5t":`, as far as their encoding does not depend on what follows.
const COMMON_HEADERS: [&[u8]; 4] = [b"eyJhbGciO", b"eyJraWQiO", b"eyJ0eXAiO", b"eyJ4NXQiO"];

/// Where in a word of base64url characters a header can begin: at its front; further back, as in `%3DeyJhbGci`, only
/// one that cannot be mistaken.
fn header_offset(word: &[u8]) -> Option<usize> {
    let offset = match word.starts_with(b"ey") || word.starts_with(b"ew") {
        true => 0,
        false => word.windows(COMMON_HEADERS[0].len()).position(|window| COMMON_HEADERS.contains(&window))?,
    };
    (word.len() - offset >= SHORTEST_HEADER).then_some(offset)
}

fn base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_go_and_the_rest_stays() {
        let text = b"SELECT f('eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln'), 'eyJhbGciOiJSUzI1NiJ9.x';";
        assert_eq!(redacted(text).as_deref(), Some(&b"SELECT f('<JWT>'), '<JWT>';"[..]));
        assert!(has_token(text));
    }

    #[test]
    fn a_token_that_is_glued_to_other_text_goes() {
        for text in ["token%3DeyJhbGciOiJSUzI1NiJ9.x.y", "E'\\neyJhbGciOiJSUzI1NiJ9.x.y", "keyJraWQiOiIxIn0.x"] {
            let redacted = String::from_utf8(redacted(text.as_bytes()).unwrap()).unwrap();
            assert!(redacted.ends_with("<JWT>") && !redacted.contains("eyJ"), "{redacted}");
        }
    }

    #[test]
    fn a_padded_token_goes() {
        let text = b"f('eyJhbGciOiJSUzI1NiJ9==.eyJzdWIiOiJhIn0=.c2ln+/8=')";
        assert_eq!(redacted(text).as_deref(), Some(&b"f('<JWT>')"[..]));
    }

    #[test]
    fn ordinary_text_stays() {
        for text in
            ["SELECT eye.color FROM eye", "", "ey", "keyJournalEntries.id", "eyJhbGciOiJSUzI1NiJ9", "aeyJhbGciO.", "."]
        {
            assert_eq!(redacted(text.as_bytes()), None, "{text}");
            assert!(!has_token(text.as_bytes()));
        }
    }

    #[test]
    fn settings_whose_values_are_secret_are_recognised() {
        for text in ["SET pg_jwks.jwks = '{}'", "ALTER SYSTEM SET \"pg_jwks\" . \"jwks\" TO x", "(PG_JWKS.Jwks"] {
            assert_eq!(secret_setting(text.as_bytes()), Some("pg_jwks.jwks"), "{text}");
        }
        assert_eq!(secret_setting(b"parameter \"pg_jwks.providers\" changed"), Some("pg_jwks.providers"));
        assert_eq!(secret_setting(b"SET pg_jwks.jwks_uri = 'a'; SET pg_jwks.jwks = 'b'"), Some("pg_jwks.jwks"));
        for text in ["", "SET pg_jwks.jwks_uri = 'https://a.example'", "pg_jwks.jwks_cache_ttl", "SELECT auth.jwks()"] {
            assert_eq!(secret_setting(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_token_survives_wherever_it_stands(
            before in "[a-zA-Z0-9_'= .\n-]{0,20}",
            header in prop::sample::select(vec!["{\"alg\":\"RS256\"}", "{\"kid\":\"a\",\"alg\":\"ES256\"}"]),
            payload in "[A-Za-z0-9_-]{8,20}",
            after in "[ '\";)\n]?[a-z .]{0,20}",
        ) {
            let header = URL_SAFE_NO_PAD.encode(header);
            let text = format!("{before}{header}.{payload}.c2lnbmF0dXJl{after}");
            let redacted = redacted(text.as_bytes()).unwrap();
            prop_assert!(redacted.len() < text.len());
            prop_assert!(!has_token(&redacted));
            let redacted = String::from_utf8(redacted).unwrap();
            prop_assert!(!redacted.contains(&header) && !redacted.contains("c2lnbmF0dXJl"), "{}", redacted);
        }

        #[test]
        fn any_text_is_as_long_at_most(text in prop::collection::vec(prop::sample::select(b"eywJhbGciO. _".to_vec()), 0..200)) {
            if let Some(redacted) = redacted(&text) {
                prop_assert!(redacted.len() < text.len());
            }
            prop_assert_eq!(redacted(&text).is_some(), has_token(&text));
        }
    }
}
