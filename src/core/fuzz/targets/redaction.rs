//! Texts for the log: nothing panics, no token survives, and what has none stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::redaction::{Found, disown, find, has_audit, has_token, hide_statement, redact, redact_tree, secret_setting};

fuzz_target!(|data: &[u8]| {
    assert_eq!(find(data), Found { token: has_token(data), secret_setting: secret_setting(data) });
    let mut text = data.to_vec();
    let length = redact(&mut text);
    text.truncate(length);
    match has_token(data) {
        true => assert!(text.len() < data.len() && !has_token(&text)),
        false => assert_eq!(text, data),
    }
    if let Some(at) = data.iter().position(|byte| *byte == 0) {
        let (format, message) = data.split_at(at);
        let mut copy = message.to_vec();
        let length = hide_statement(&mut copy, format, "pg_jwks.jwks");
        assert!(length < message.len() || copy == message);
    }
    for change in [redact_tree, disown] {
        let mut copy = data.to_vec();
        let length = change(&mut copy);
        assert!(length <= data.len());
        copy.truncate(length);
    }
    let mut own = data.to_vec();
    let length = disown(&mut own);
    assert!(!has_audit(&own[..length]), "it could be taken for a line of the audit log");
    // Whatever is no token is still there, in the same order.
    let mut rest = data;
    for piece in text.split(|byte| b"<>".contains(byte)).filter(|piece| !piece.is_empty() && *piece != b"JWT") {
        let at = rest.windows(piece.len()).position(|window| window == piece).expect("a piece of the text");
        rest = &rest[at + piece.len()..];
    }
});
