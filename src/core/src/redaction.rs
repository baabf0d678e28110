//! Finding what must not be logged: tokens, and the settings whose values can be shared secrets.
//!
//! This runs while an error is reported, perhaps because memory ran out, and a failure here would end the whole server.
//! So nothing here allocates or can panic; every function takes time in proportion to the text, and reads it in place.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod tree;

use std::cell::Cell;
use std::ops::Range;

use memchr::memmem;

pub use tree::{is_tree, redact_tree};

/// What stands in place of a token. Every token is longer.
const REPLACEMENT: &[u8] = b"<JWT>";

/// Replaces each token in the text by `<JWT>` and returns the new length; what is behind it has no meaning.
///
/// A token begins with the base64url form of `{"`, which is `eyJ`, or of `{` and white space, which begins with `ey`
/// or `ew`; it goes on over at least one dot. Truncated and malformed tokens are found too.
pub fn redact(text: &mut [u8]) -> usize {
    let (mut read, mut written) = (0_usize, 0_usize);
    while let Some(token) = text.get(read..).and_then(first_token) {
        written = shift(text, read..read.saturating_add(token.start), written);
        if let Some(rest) = text.get_mut(written..) {
            written = written.saturating_add(overwrite(rest, &[REPLACEMENT]));
        }
        read = read.saturating_add(token.end);
    }
    match read {
        0 => text.len(),
        _ => shift(text, read..text.len(), written),
    }
}

/// Whether the text has a token in it.
pub fn has_token(text: &[u8]) -> bool {
    first_token(text).is_some()
}

/// The first setting in the text whose value can be a shared secret, however its name is spelt: SQL allows quotes and
/// white space in names. If it names none, but has the JWK of a shared secret: the setting that is for these.
pub fn secret_setting(text: &[u8]) -> Option<&'static str> {
    dots(text).find_map(|(before, after)| secret_setting_at(before, after)).or_else(|| setting_of_secret(text))
}

/// The setting for JWKs of shared secrets (RFC 7518 §6.4), if the text has one. It need not name the setting: EXECUTE
/// does not.
fn setting_of_secret(text: &[u8]) -> Option<&'static str> {
    let has = |word: &[u8]| memmem::find(text, word).is_some();
    (has(b"\"kty\"") && has(b"\"oct\"")).then_some("pg_jwks.jwks")
}

/// What a text has that must not be logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether it has a token in it.
    pub token: bool,
    /// The first setting in it whose value can be a shared secret.
    pub secret_setting: Option<&'static str>,
}

/// What [`has_token`] and [`secret_setting`] find, with one pass through the text.
pub fn find(text: &[u8]) -> Found {
    let mut found = Found::default();
    for (before, after) in dots(text) {
        found.token = found.token || token_at(before, after).is_some();
        found.secret_setting = found.secret_setting.or_else(|| secret_setting_at(before, after));
        if found.token && found.secret_setting.is_some() {
            break;
        }
    }
    found.secret_setting = found.secret_setting.or_else(|| setting_of_secret(text));
    found
}

/// Hides what a message repeats of a statement that names a secret setting, and returns the new length. `format` is the
/// message's untranslated form; a message that repeats no statement, parameter or value stays as it is.
pub fn hide_statement(message: &mut [u8], format: &[u8], setting: &str) -> usize {
    let Some(front) = statement_in(message, format) else { return message.len() };
    let statement = message.get_mut(front..).unwrap_or_default();
    front.saturating_add(hide(statement, setting))
}

/// Whether messages of this form repeat a statement, its parameters or a value.
pub fn repeats_statement(format: &[u8]) -> bool {
    statement_in(&[], format).is_some()
}

/// Replaces a whole text that has a token in it, where the rest is of no use. Returns the new length.
pub fn hide_token(text: &mut [u8]) -> usize {
    overwrite(text, &[REPLACEMENT])
}

/// How the lines of the audit log begin.
pub const AUDIT: &str = "pg_jwks audit:";

/// What becomes of these words in all other lines, so that nobody can imitate one. As long as [`AUDIT`].
const IMITATED: &[u8; AUDIT.len()] = b"imitated line:";

/// Whether the text could be taken for a line of the audit log.
pub fn has_audit(text: &[u8]) -> bool {
    memmem::find(text, AUDIT.as_bytes()).is_some()
}

/// Changes the words with which lines of the audit log begin. Returns the length, which stays.
pub fn disown(text: &mut [u8]) -> usize {
    let mut rest = &mut *text;
    while let Some(place) = memmem::find(rest, AUDIT.as_bytes()) {
        let Some(words) = rest.get_mut(place..) else { break };
        overwrite(words, &[IMITATED]);
        rest = words;
    }
    text.len()
}

/// Replaces a whole text by the name of the setting whose value may be in it, and returns the new length. A text that is
/// no longer than this replacement stays: no secret is so short.
pub fn hide(text: &mut [u8], setting: &str) -> usize {
    match text.len() > setting.len().saturating_add(2) {
        true => overwrite(text, &[b"<", setting.as_bytes(), b">"]),
        false => text.len(),
    }
}

/// Puts another text, given in parts, in place of one, as far as it fits. Returns its length.
pub fn overwrite(text: &mut [u8], parts: &[&[u8]]) -> usize {
    let mut length = 0_usize;
    for (to, from) in text.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
        length = length.saturating_add(1);
    }
    length
}

/// Moves part of the text to the front, to `to`, and returns where it ends then.
fn shift(text: &mut [u8], part: Range<usize>, to: usize) -> usize {
    let text = Cell::from_mut(text).as_slice_of_cells();
    let (part, target) = (text.get(part).unwrap_or_default(), text.get(to..).unwrap_or_default());
    for (to, from) in target.iter().zip(part) {
        to.set(from.get());
    }
    to.saturating_add(part.len())
}

/// The text around each of its dots: what is before it, and what begins with it. Tokens and the names of settings have
/// dots, and other text has few.
fn dots(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    memchr::memchr_iter(b'.', text).filter_map(|dot| text.split_at_checked(dot))
}

fn first_token(text: &[u8]) -> Option<Range<usize>> {
    dots(text).find_map(|(before, after)| token_at(before, after))
}

/// Where the token is whose header ends at this dot. Looks back to the dot before at most.
fn token_at(before: &[u8], after: &[u8]) -> Option<Range<usize>> {
    // Padding is an error in a token, and easily taken off.
    let (padded, _) = split_trailing(before, |byte| byte == b'=');
    let (front, word) = split_trailing(padded, base64url);
    let start = front.len().saturating_add(header_offset(word)?);
    let end = after.iter().position(|byte| !base64url(*byte) && !b".=+/".contains(byte)).unwrap_or(after.len());
    Some(start..before.len().saturating_add(end))
}

/// Splits off the end of the text that consists of such bytes.
fn split_trailing(text: &[u8], such: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let others = text.iter().rposition(|byte| !such(*byte)).map_or(0, |last| last.saturating_add(1));
    text.split_at_checked(others).unwrap_or((text, &[]))
}

/// Shorter first parts are no header: `{"alg":"x"}` alone has 15 characters in base64url.
const SHORTEST_HEADER: usize = 12;

/// `{"alg":`, `{"kid":`, `{"typ":` and `{"x5t":`, as far as their encoding does not depend on what follows.
const COMMON_HEADERS: [&[u8; 9]; 4] = [b"eyJhbGciO", b"eyJraWQiO", b"eyJ0eXAiO", b"eyJ4NXQiO"];

/// Where in a word of base64url characters a header begins that ends with it: at its front; further back, as in
/// `%3DeyJhbGci`, only one that cannot be mistaken.
fn header_offset(word: &[u8]) -> Option<usize> {
    if word.len() < SHORTEST_HEADER {
        return None;
    }
    if word.starts_with(b"ey") || word.starts_with(b"ew") {
        return Some(0);
    }
    let common = |window: &[u8]| window.starts_with(b"ey") && COMMON_HEADERS.iter().any(|header| window == *header);
    let offset = word.windows(COMMON_HEADERS[0].len()).position(common)?;
    (word.len().saturating_sub(offset) >= SHORTEST_HEADER).then_some(offset)
}

fn base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// The ends of the formats of messages that repeat a statement, its parameters or a value, up to the last `%s`; and the
/// last part of each that stays the same in all languages.
///
/// For example `duration: %s ms  statement: %s` (postgres.c), `invalid value for parameter "%s": "%s"` (guc.c),
/// `%s at or near "%s"` (scan.l), `duration: %.3f ms  plan:\n%s` (auto_explain).
const REPEATING: [(&[u8], &[u8]); 4] =
    [(b": ", b": "), (b": \"", b": \""), (b":\n", b":\n"), (b" at or near \"", b"\"")];

/// How the messages of pgaudit begin.
const PGAUDIT: &[u8] = b"AUDIT: ";

/// Where the statement begins in the message, or some place before it; `None` if messages of this format have none.
fn statement_in(message: &[u8], format: &[u8]) -> Option<usize> {
    if format.starts_with(PGAUDIT) {
        return Some(PGAUDIT.len().min(message.len()));
    }
    let format = format.strip_suffix(b"%s").or_else(|| format.strip_suffix(b"%s\""))?;
    let (_, separator) = REPEATING.iter().find(|(end, _)| format.ends_with(end))?;
    let (mut format, mut rest) = (format, message);
    while let Some(after) = behind(format, separator) {
        format = after;
        match behind(rest, separator) {
            Some(after) => rest = after,
            None => return Some(0),
        }
    }
    Some(message.len().saturating_sub(rest.len()))
}

/// What comes behind the first place of the part in the text.
fn behind<'a>(mut text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    loop {
        match text.strip_prefix(part) {
            Some(rest) => return Some(rest),
            None => text = text.get(1..)?,
        }
    }
}

/// The prefix of all settings.
const PREFIX: &[u8] = b"pg_jwks";

/// The settings whose values can be shared secrets, with their names behind the prefix.
const SECRET_SETTINGS: [(&[u8], &str); 2] = [(b"jwks", "pg_jwks.jwks"), (b"providers", "pg_jwks.providers")];

/// The secret setting whose name has this dot. Looks to the next dots at most.
fn secret_setting_at(before: &[u8], after: &[u8]) -> Option<&'static str> {
    if !begins_with(&mut letters(before.iter().rev()), PREFIX.iter().rev()) {
        return None;
    }
    let (_, name) = SECRET_SETTINGS.iter().find(|(name, _)| {
        let mut letters = letters(after.iter().skip(1));
        // pg_jwks.jwks_uri is another setting.
        begins_with(&mut letters, name.iter()) && letters.next() != Some(b'_')
    })?;
    Some(name)
}

/// Names without what SQL allows between and around their letters, in lower case.
fn letters<'a>(text: impl Iterator<Item = &'a u8>) -> impl Iterator<Item = u8> {
    text.filter(|byte| !matches!(byte, b'"' | b' ' | b'\t'..=b'\r')).map(u8::to_ascii_lowercase)
}

fn begins_with<'a>(letters: &mut impl Iterator<Item = u8>, mut name: impl Iterator<Item = &'a u8>) -> bool {
    name.all(|letter| letters.next() == Some(*letter))
}
