//! Finding tokens in texts that are about to be logged.

/// The text with each token in it replaced by `<JWT>`, or `None` where it has none.
///
/// A token begins with the base64url form of `{"`, which is `eyJ`, or of `{` and white space, which is `ew` or `ey`;
/// it goes on over at least one dot. Truncated and malformed tokens are found too.
pub fn redacted(text: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        let Some(length) = token_length(text, at) else {
            at += 1;
            continue;
        };
        let out = out.get_or_insert_with(Vec::new);
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(b"<JWT>");
        at += length;
        copied = at;
    }
    out.map(|mut out| {
        out.extend_from_slice(&text[copied..]);
        out
    })
}

/// Whether the text has a token in it.
pub fn has_token(text: &[u8]) -> bool {
    (0..text.len()).any(|at| token_length(text, at).is_some())
}

/// Shorter first parts are no header: `{"alg":"x"}` alone has 15 characters in base64url.
const SHORTEST_HEADER: usize = 12;

fn token_length(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    if !(rest.starts_with(b"ey") || rest.starts_with(b"ew"))
        || at.checked_sub(1).is_some_and(|before| base64url(text[before]))
    {
        return None;
    }
    let header = rest.iter().take_while(|byte| base64url(**byte)).count();
    if header < SHORTEST_HEADER || rest.get(header) != Some(&b'.') {
        return None;
    }
    Some(rest.iter().take_while(|byte| base64url(**byte) || **byte == b'.').count())
}

fn base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_and_the_rest_stays() {
        let text = b"SELECT f('eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln'), 'eyJhbGciOiJSUzI1NiJ9.x';";
        assert_eq!(redacted(text).as_deref(), Some(&b"SELECT f('<JWT>'), '<JWT>';"[..]));
        assert!(has_token(text));
    }

    #[test]
    fn ordinary_text_stays() {
        for text in [&b"SELECT eye.color FROM eye"[..], b"", b"ey", b"keyJhbGciOiJSUzI1NiJ9.x", b"eyJhbGciOiJSUzI1NiJ9"]
        {
            assert_eq!(redacted(text), None);
            assert!(!has_token(text));
        }
    }
}
