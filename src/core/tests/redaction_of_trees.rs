//! What `debug_print_plan` and its like log has no token, and no value of a parameter.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pg_jwks_core::redaction::{is_tree, redact_tree};
use proptest::prelude::*;

fn redacted(tree: &str) -> String {
    let mut text = tree.as_bytes().to_vec();
    let length = redact_tree(&mut text);
    text.truncate(length);
    String::from_utf8(text).expect("what was UTF-8")
}

/// As `_outDatum` prints a value: its length, and its bytes with their signs.
fn constant(value: &[u8]) -> String {
    let bytes: Vec<_> = value.iter().map(|byte| byte.cast_signed().to_string()).collect();
    format!("{{CONST :consttype 25 :constlen -1 :constvalue {} [ {} ]}}", value.len(), bytes.join(" "))
}

/// As `format_node_dump` and `pretty_format_node_dump` break lines, which may be within a word.
fn broken(tree: &str, columns: usize, indentation: usize) -> String {
    let characters: Vec<_> = tree.chars().collect();
    let lines: Vec<String> = characters.chunks(columns).map(|line| line.iter().collect()).collect();
    lines.join(&format!("\n{}", " ".repeat(indentation)))
}

#[test]
fn values_longer_than_a_number_go() {
    let tree = constant(b"123456789");
    assert_eq!(redacted(&tree), "{CONST :consttype 25 :constlen -1 :constvalue 9 [...]}");
    assert_eq!(redacted(&format!("({tree} {tree})")).matches("[...]").count(), 2);
}

#[test]
fn other_parts_of_a_tree_stay() {
    for tree in
        ["", "{PLANNEDSTMT :commandType 1 :hasReturning false}", "[", "[ ]", ":cost 1.25 [ x 1 2 3 4 5 6 7 8 9 ]"]
    {
        assert_eq!(redacted(tree), tree);
    }
    let number = constant(&[0, 1, 2, 3, 4, 5, 254, 255]);
    assert_eq!(redacted(&number), number);
}

#[test]
fn a_value_at_the_end_of_the_text_goes() {
    assert_eq!(redacted(":constvalue 20 [ 101 121 74 104 98 71 99 105 79 105"), ":constvalue 20 [...");
}

#[test]
fn only_the_message_of_a_tree_is_one() {
    assert!(is_tree(b"%s:"));
    assert!(!is_tree(b"%s: %s") && !is_tree(b"statement: %s") && !is_tree(b"%s") && !is_tree(b""));
}

#[test]
fn ordinary_trees_with_texts_stay() {
    for text in ["a.b", "SELECT eye.color FROM eye", "key Journal Entries . id", "0.00"] {
        let tree = format!("{{A_CONST :val \"{text}\"}} {{QUERY :cost 1.25}}");
        assert_eq!(redacted(&tree), tree);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_value_survives_wherever_lines_break(
        value in "[A-Za-z0-9_.-]{9,200}", columns in 2_usize..100, indentation in 0_usize..9,
    ) {
        let tree = broken(&constant(value.as_bytes()), columns, indentation);
        let redacted = redacted(&tree);
        let inside = redacted.split_once('[').expect("the value").1;
        prop_assert!(inside.starts_with("...]"), "{}", redacted);
    }

    #[test]
    fn no_token_in_a_text_survives_wherever_lines_break(
        before in "[\"'=(]|Bearer\\\\ |token=",
        header in prop::sample::select(vec!["{\"alg\":\"RS256\"}", "{\"kid\":\"a\",\"alg\":\"ES256\",\"typ\":\"JWT\"}"]),
        payload in "[A-Za-z0-9_-]{20,300}",
        columns in 12_usize..100,
        indentation in 0_usize..9,
    ) {
        let token = format!("{}.{payload}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header));
        let tree = broken(&format!("{{DEFELEM :defname as :arg \"{before}{token}\"}}"), columns, indentation);
        prop_assert_eq!(redacted(&tree), "<JWT>");
    }

    #[test]
    fn any_tree_is_as_long_at_most(tree in "[\\[\\] 0-9.\n-]{0,100}") {
        prop_assert!(redacted(&tree).len() <= tree.len());
    }
}
