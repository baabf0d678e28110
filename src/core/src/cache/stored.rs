//! A key document as it is kept in a file: the SHA-256 of the rest, a line of JSON about the document, and the document.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bounds::MAX_DOCUMENT_BYTES;
use crate::digest::digest;
use crate::time::{Span, Timestamp};

/// Bytes of the lines before the document.
const MAX_HEAD_BYTES: usize = 8192;

/// Bytes of a file that is not too large to be one.
pub const MAX_STORED_BYTES: usize = MAX_DOCUMENT_BYTES + MAX_HEAD_BYTES;

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The key document.
    pub document: Vec<u8>,
    /// When it was fetched.
    pub fetched: Timestamp,
    /// How long it was fresh.
    pub life: Span,
}

#[derive(Serialize, Deserialize)]
struct Head<O> {
    origin: O,
    fetched: Timestamp,
    life: Span,
}

impl Stored {
    /// The contents of a file that says where the document came from.
    pub fn encode<O: Serialize>(&self, origin: O) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(&Head { origin, fetched: self.fetched, life: self.life })?;
        text.push(b'\n');
        text.extend_from_slice(&self.document);
        let mut contents = hex::encode(digest(&text)).into_bytes();
        contents.push(b'\n');
        contents.append(&mut text);
        Ok(contents)
    }

    /// Reads the contents of a file, and where its document came from. `None` if it is damaged.
    pub fn decode<O: DeserializeOwned>(contents: &[u8]) -> Option<(Self, O)> {
        let (sum, rest) = line(contents)?;
        if sum != hex::encode(digest(rest)).as_bytes() {
            return None;
        }
        let (head, document) = line(rest)?;
        let Head { origin, fetched, life } = serde_json::from_slice(head).ok()?;
        Some((Self { document: document.to_vec(), fetched, life }, origin))
    }
}

/// The first line, and the rest.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_not_read() {
        let stored = Stored { document: b"{}\n".to_vec(), fetched: Timestamp::from_seconds(7), life: Span::ZERO };
        let contents = stored.encode("here").unwrap();
        assert_eq!(Stored::decode::<String>(&contents), Some((stored, "here".into())));
        for at in 0..contents.len() {
            let mut damaged = contents.clone();
            damaged[at] ^= 1;
            assert_eq!(Stored::decode::<String>(&damaged), None, "byte {at}");
            assert_eq!(Stored::decode::<String>(&contents[..at]), None, "cut at {at}");
        }
    }
}
