//! Texts that whoever made a token chose, as short as an error or a line of the log may have them.

use serde_json::Value;

use crate::json::ascii_escaped;

/// Longer texts are cut, to so many characters and a mark.
const LONGEST: usize = 200;

/// The text, or the front of a long one.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same in quotes, in ASCII, as an error can have it in any encoding.
pub fn quoted(text: &str) -> String {
    ascii_escaped(&Value::from(excerpt(text)).to_string())
}
