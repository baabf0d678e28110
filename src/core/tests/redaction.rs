//! What is logged has no token and no shared secret, and to find them needs no memory.

#[path = "common/allocations.rs"]
mod allocations;

use std::ops::Range;
use std::time::{Duration, Instant};

use allocations::allocations;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pg_jwks_core::redaction::{self, Found, find, has_token, overwrite, repeats_statement, secret_setting};
use proptest::prelude::*;
use proptest::sample::select;

/// The text as it is logged, or `None` if it stays as it is.
fn redacted(text: &[u8]) -> Option<Vec<u8>> {
    let mut copy = text.to_vec();
    let length = redaction::redact(&mut copy);
    copy.truncate(length);
    (copy != text).then_some(copy)
}

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

#[test]
fn a_shared_secret_is_recognised_without_its_setting() {
    let statement = br#"EXECUTE p('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}')"#;
    assert_eq!(secret_setting(statement), Some("pg_jwks.jwks"));
    assert_eq!(find(statement), Found { token: false, secret_setting: Some("pg_jwks.jwks") });
    assert_eq!(secret_setting(br#"{"kty": "EC", "crv": "P-256"}"#), None);
}

#[test]
fn the_first_secret_setting_in_a_text_counts() {
    let message = b"parameter \"pg_jwks.providers\" changed to \"pg_jwks.jwks\"";
    assert_eq!(secret_setting(message), Some("pg_jwks.providers"));
}

fn hidden(message: &str, format: &str) -> String {
    let mut message = message.as_bytes().to_vec();
    let length = redaction::hide_statement(&mut message, format.as_bytes(), "pg_jwks.jwks");
    message.truncate(length);
    String::from_utf8(message).unwrap()
}

#[test]
fn statements_are_hidden_in_messages_that_repeat_them() {
    for (format, message, logged) in [
        ("statement: %s", "statement: SET pg_jwks.jwks = 'a: b'", "statement: <pg_jwks.jwks>"),
        ("statement: %s", "instruction : SET pg_jwks.jwks = 'a'", "instruction : <pg_jwks.jwks>"),
        (
            "duration: %s ms  statement: %s",
            "Dauer: 1.5 ms  Anweisung: SET pg_jwks.jwks = 'a'",
            "Dauer: 1.5 ms  Anweisung: <pg_jwks.jwks>",
        ),
        (
            "duration: %s ms  %s %s%s%s: %s",
            "duration: 1.5 ms  bind a: SELECT f('pg_jwks.jwks')",
            "duration: 1.5 ms  bind a: <pg_jwks.jwks>",
        ),
        (
            "duration: %.3f ms  plan:\n%s",
            "duration: 1.5 ms  plan:\nQuery Text: SELECT 'pg_jwks.jwks'",
            "duration: 1.5 ms  plan:\n<pg_jwks.jwks>",
        ),
        (
            "%s at or near \"%s\"",
            "syntax error at or near \"'{\"keys\": []}'\"",
            "syntax error at or near \"<pg_jwks.jwks>",
        ),
        (
            "invalid value for parameter \"%s\": \"%s\"",
            "invalid value for parameter \"a\": \"0123456789abcdef\"",
            "invalid value for parameter \"a\": \"<pg_jwks.jwks>",
        ),
        ("AUDIT: %s,%s", "AUDIT: SESSION,1,1,MISC,SET,,,SET pg_jwks.jwks = 'a'", "AUDIT: <pg_jwks.jwks>"),
        // A translation without the separator, and a name that has it.
        ("statement: %s", "文：SET pg_jwks.jwks = 'a'", "<pg_jwks.jwks>"),
        ("%s %s%s%s: %s", "execute a: b: SELECT 'pg_jwks.jwks'", "execute a: <pg_jwks.jwks>"),
    ] {
        assert_eq!(hidden(message, format), logged, "{format}");
        assert!(repeats_statement(format.as_bytes()));
    }
}

#[test]
fn other_messages_and_short_ones_stay() {
    for (format, message) in [
        ("permission denied to set parameter \"%s\"", "permission denied to set parameter \"pg_jwks.jwks\""),
        ("%s", "pg_jwks.jwks is no JWK Set"),
        ("", ""),
        ("division by zero", "division by zero"),
        ("%s at or near \"%s\"", "syntax error at or near \"pg_jwks\""),
        ("statement: %s", ""),
    ] {
        assert_eq!(hidden(message, format), message);
    }
}

#[test]
fn another_text_is_put_in_place_as_far_as_it_fits() {
    let mut text = *b"0123456";
    assert_eq!(overwrite(&mut text, &[b"ab", b"", b"c"]), 3);
    assert_eq!(&text, b"abc3456");
    assert_eq!(overwrite(&mut text, &[b"too", b" long"]), 7);
    assert_eq!(&text, b"too lon");
    assert_eq!(overwrite(&mut [], &[b"a"]), 0);
}

#[test]
fn nothing_is_allocated() {
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    for text in ["", "a.b", "SET pg_jwks.jwks = 'x'", &format!("f({token}), {token} FROM {token}").repeat(100)] {
        let mut text = text.as_bytes().to_vec();
        let count = allocations(|| {
            has_token(&text);
            find(&text);
            secret_setting(&text);
            let length = redaction::redact(&mut text);
            let length = redaction::hide_statement(&mut text[..length], b"duration: %s ms  statement: %s", "a.b");
            overwrite(&mut text[..length], &[b"a", b"b"]);
            redaction::disown(&mut text);
            redaction::has_audit(&text);
            redaction::redact_tree(&mut text);
            redaction::hide_token(&mut text);
        });
        assert_eq!(count, 0);
    }
    assert_ne!(allocations(|| drop(std::hint::black_box(vec![1]))), 0, "allocations are not counted");
}

/// Bytes that mean something here, in long runs. In quadratic time this would take hours.
#[test]
fn no_text_takes_more_time_than_its_length_allows() {
    for pattern in [
        "eyJ",
        ".",
        "eyJhbGciO.",
        "ey.",
        "=",
        "=.",
        "eyJhbGciOiJIUzI1NiJ9.e ",
        "pg_jwks.",
        "\"",
        "pg_jwks .\" ",
        "a",
        "[",
        "1 ",
        "[ 1",
        "e ",
        "eyJhb ",
        "pg_jwks audit:",
    ] {
        for end in ["", ".", "eyJhbGciO", ".jwks_", "eyJhbGciOiJIUzI1NiJ9.e.s"] {
            let mut text = pattern.repeat((2 << 20) / pattern.len());
            text.push_str(end);
            let mut text = text.into_bytes();
            let started = Instant::now();
            std::hint::black_box((has_token(&text), find(&text), secret_setting(&text)));
            std::hint::black_box(redaction::redact_tree(&mut text.clone()));
            std::hint::black_box(redaction::disown(&mut text.clone()));
            std::hint::black_box(redaction::redact(&mut text));
            assert!(started.elapsed() < Duration::from_secs(10), "{pattern:?} {end:?}");
        }
    }
}

/// The same in few words: all at once, with as many copies as it takes.
mod reference {
    use super::*;

    /// The tokens of a text, from the front.
    pub fn tokens(text: &[u8]) -> Vec<Range<usize>> {
        let mut tokens: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let end = at + run(&text[at..], is_word);
            let dot = end + run(&text[end..], |byte| byte == b'=');
            let header = header(&text[at..end]);
            at = match header.filter(|_| text.get(dot) == Some(&b'.')) {
                Some(offset) => {
                    let token = at + offset..dot + run(&text[dot..], |byte| is_word(byte) || b".=+/".contains(&byte));
                    tokens.push(token.clone());
                    token.end
                }
                None => end + 1,
            };
        }
        tokens
    }

    pub fn redacted(text: &[u8]) -> Vec<u8> {
        let mut out = text.to_vec();
        for token in tokens(text).into_iter().rev() {
            out.splice(token, *b"<JWT>");
        }
        out
    }

    pub fn secret_setting(text: &[u8]) -> Option<&'static str> {
        let plain: Vec<u8> = text.iter().filter(|byte| !b"\" \t\n\x0b\x0c\r".contains(byte)).copied().collect();
        let plain = String::from_utf8_lossy(&plain).to_ascii_lowercase();
        let first = |name: &'static str| {
            let found = plain.match_indices(name).find(|(at, _)| !plain[at + name.len()..].starts_with('_'));
            found.map(|(at, _)| (at, name))
        };
        ["pg_jwks.jwks", "pg_jwks.providers"].into_iter().filter_map(first).min().map(|(_, name)| name)
    }

    fn run(text: &[u8], such: impl Fn(u8) -> bool) -> usize {
        text.iter().take_while(|byte| such(**byte)).count()
    }

    fn is_word(byte: u8) -> bool {
        matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_')
    }

    fn header(word: &[u8]) -> Option<usize> {
        let common = ["eyJhbGciO", "eyJraWQiO", "eyJ0eXAiO", "eyJ4NXQiO"];
        let offset = match &word[..word.len().min(2)] {
            b"ey" | b"ew" => 0,
            _ => (0..word.len()).find(|at| common.iter().any(|header| word[*at..].starts_with(header.as_bytes())))?,
        };
        (word.len() - offset >= 12).then_some(offset)
    }
}

/// Texts of pieces that mean something, whole and in part.
fn conspicuous() -> impl Strategy<Value = Vec<u8>> {
    let pieces = select(vec![
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJhbGciO",
        "eyJraWQiO",
        "eyJ0eXAiO",
        "eyJ4NXQiO",
        "ey",
        "ew",
        "e",
        "y",
        "J",
        ".",
        "..",
        "=",
        "==",
        "+",
        "/",
        "-",
        "_",
        "A",
        "abcdefghijkl",
        " ",
        "'",
        "\n",
        "%",
        "\u{0}",
        "é",
        "<JWT>",
        "pg_jwks",
        "PG_jwks",
        ".jwks",
        "pg_jwks.jwks",
        "pg_jwks.providers",
        "jwks",
        "providers",
        "_uri",
        "\"",
        "\t",
        "\x0b",
        "s",
    ]);
    prop::collection::vec(pieces, 0..16).prop_map(|pieces| pieces.concat().into_bytes())
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => conspicuous(),
        2 => prop::collection::vec(select(b"eywJhbGciO. _=".to_vec()), 0..200),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_finds_what_the_reference_finds(text in any_text()) {
        let tokens = reference::tokens(&text);
        prop_assert_eq!(has_token(&text), !tokens.is_empty());
        prop_assert_eq!(redacted(&text).unwrap_or_else(|| text.clone()), reference::redacted(&text));
        prop_assert_eq!(secret_setting(&text), reference::secret_setting(&text));
        let found = Found { token: !tokens.is_empty(), secret_setting: reference::secret_setting(&text) };
        prop_assert_eq!(find(&text), found);
    }

    #[test]
    fn hiding_leaves_no_text_longer(text in any_text(), format in any_text(), end in select(vec!["", ": %s", ": \"%s\""])) {
        let (mut copy, format) = (text.clone(), [&format, end.as_bytes()].concat());
        let length = redaction::hide_statement(&mut copy, &format, "pg_jwks.jwks");
        prop_assert!(length < text.len() || copy == text);
    }

    #[test]
    fn no_token_survives_wherever_it_stands(
        before in "[a-zA-Z0-9_'= .\n-]{0,20}",
        header in select(vec!["{\"alg\":\"RS256\"}", "{\"kid\":\"a\",\"alg\":\"ES256\"}"]),
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
    fn any_text_is_as_long_at_most(text in any_text()) {
        if let Some(redacted) = redacted(&text) {
            prop_assert!(redacted.len() < text.len());
        }
        prop_assert_eq!(redacted(&text).is_some(), has_token(&text));
    }
}
