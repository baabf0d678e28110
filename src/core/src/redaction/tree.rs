//! The trees of nodes that `debug_print_parse`, `debug_print_rewritten` and `debug_print_plan` log: anybody may set these,
//! and a tree has the values of bound parameters, as the numbers of their bytes.

use std::ops::Range;

use super::{
    COMMON_HEADERS, REPLACEMENT, SHORTEST_HEADER, base64url, begins_with, dots, overwrite, shift, split_trailing,
};

/// Whether messages of this form have such a tree as their detail (`elog_node_display`, print.c).
pub fn is_tree(format: &[u8]) -> bool {
    format == b"%s:"
}

/// Takes the values of constants out of a tree, if they are longer than a number; the whole tree if a text in it has a
/// token. Returns the new length.
pub fn redact_tree(text: &mut [u8]) -> usize {
    let has_token = dots(text).any(|(before, _)| ends_with_header(before));
    match has_token {
        true => overwrite(text, &[REPLACEMENT]),
        false => without_values(text),
    }
}

/// What stands in place of a value.
const VALUE: &[u8] = b"...";

/// The bytes of a number, a date or a pointer. Longer values have more.
const WORD: usize = 8;

fn without_values(text: &mut [u8]) -> usize {
    let (mut read, mut written) = (0_usize, 0_usize);
    while let Some(value) = text.get(read..).and_then(first_value) {
        written = shift(text, read..read.saturating_add(value.start), written);
        if let Some(rest) = text.get_mut(written..) {
            written = written.saturating_add(overwrite(rest, &[VALUE]));
        }
        read = read.saturating_add(value.end);
    }
    match read {
        0 => text.len(),
        _ => shift(text, read..text.len(), written),
    }
}

/// Where the first long value is, as in `[ 101 121 -74 ]`, without the brackets.
fn first_value(text: &[u8]) -> Option<Range<usize>> {
    memchr::memchr_iter(b'[', text).find_map(|bracket| {
        let start = bracket.saturating_add(1);
        let value = text.get(start..)?;
        let length = value.iter().position(|byte| !number(*byte) && !space(*byte)).unwrap_or(value.len());
        let value = value.get(..length)?;
        let numbers = value.split(|byte| space(*byte)).filter(|number| !number.is_empty()).count();
        (numbers > WORD).then(|| start..start.saturating_add(length))
    })
}

fn number(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'-'
}

fn space(byte: u8) -> bool {
    byte == b' ' || byte == b'\n'
}

/// Whether the text ends with the header of a token. Trees are broken into lines, also within words.
fn ends_with_header(text: &[u8]) -> bool {
    let (padded, _) = split_trailing(text, |byte| byte == b'=' || space(byte));
    let (_, word) = split_trailing(padded, |byte| base64url(byte) || space(byte));
    let joined = || word.iter().copied().filter(|byte| !space(*byte));
    if joined().count() < SHORTEST_HEADER {
        return false;
    }
    let begins = |header: &[u8]| begins_with(&mut joined(), header.iter());
    begins(b"ey") || begins(b"ew") || COMMON_HEADERS.iter().any(|header| within(word, *header))
}

/// Whether the word has this header in it, spaces left out.
fn within(word: &[u8], header: &[u8]) -> bool {
    let mut starts = memchr::memchr_iter(b'e', word).filter_map(|start| word.get(start..));
    starts.any(|rest| {
        let mut joined = rest.iter().copied().filter(|byte| !space(*byte));
        begins_with(&mut joined, header.iter())
    })
}
