//! No other line of the log has the words with which those of the audit log begin.

use pg_jwks_core::redaction;

#[test]
fn what_could_be_taken_for_a_line_of_the_audit_log_is_changed() {
    for (text, logged) in [
        ("pg_jwks audit: {}", "imitated line: {}"),
        ("a\npg_jwks audit:pg_jwks audit: b", "a\nimitated line:imitated line: b"),
        ("pg_jwks audit", "pg_jwks audit"),
        ("", ""),
    ] {
        let mut copy = text.as_bytes().to_vec();
        assert_eq!(redaction::disown(&mut copy), text.len());
        assert_eq!(String::from_utf8(copy).unwrap(), logged);
        assert_eq!(redaction::has_audit(text.as_bytes()), text != logged);
    }
}
