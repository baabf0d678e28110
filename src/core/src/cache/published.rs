//! What a process publishes for others to read without a lock: one writer, many readers, and no reader sees half of a text.
//!
//! The protocol is that of PostgreSQL's own `PgBackendStatus`: a count that is odd while the text is being written. It is
//! said of any kind of atomic number, so that a model checker can run it in all orders.

use std::sync::atomic::Ordering;

/// An atomic number of 64 bits.
pub trait AtomicWord {
    /// As `AtomicU64::load`.
    fn load(&self, order: Ordering) -> u64;
    /// As `AtomicU64::store`.
    fn store(&self, value: u64, order: Ordering);
    /// As `std::sync::atomic::fence`, for numbers of this kind.
    fn fence(order: Ordering);
}

impl AtomicWord for std::sync::atomic::AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

/// A text of at most `8 * WORDS` bytes that one process writes. All-zero bytes are an empty one.
#[repr(C)]
pub struct Published<W, const WORDS: usize> {
    /// Odd while the writer writes.
    changes: W,
    /// In bytes.
    length: W,
    words: [W; WORDS],
}

/// What a look at a text found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The whole text.
    Text(Vec<u8>),
    /// The writer was writing.
    Changing,
}

impl<W: AtomicWord, const WORDS: usize> Published<W, WORDS> {
    /// An empty text, of numbers that are zero.
    pub const fn new(changes: W, length: W, words: [W; WORDS]) -> Self {
        Self { changes, length, words }
    }

    /// Writes a text, as much of it as there is room for. To be called by the one process that owns it. Allocates nothing.
    pub fn write(&self, text: &[u8]) {
        let text = &text[..text.len().min(8 * WORDS)];
        let changes = self.changes.load(Ordering::Relaxed);
        // A process that ended while it wrote has left the count odd.
        let writing = changes | 1;
        self.changes.store(writing, Ordering::Relaxed);
        W::fence(Ordering::Release);
        self.length.store(text.len() as u64, Ordering::Relaxed);
        for (word, bytes) in self.words.iter().zip(text.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        }
        self.changes.store(writing.wrapping_add(1), Ordering::Release);
    }

    /// Looks at the text once.
    pub fn look(&self) -> Look {
        let before = self.changes.load(Ordering::Acquire);
        if before % 2 == 1 {
            return Look::Changing;
        }
        let length = usize::try_from(self.length.load(Ordering::Relaxed)).unwrap_or(0).min(8 * WORDS);
        let mut text: Vec<u8> = Vec::with_capacity(length.next_multiple_of(8));
        for word in &self.words[..length.div_ceil(8)] {
            text.extend(word.load(Ordering::Relaxed).to_ne_bytes());
        }
        text.truncate(length);
        W::fence(Ordering::Acquire);
        match self.changes.load(Ordering::Relaxed) == before {
            true => Look::Text(text),
            false => Look::Changing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn published() -> Published<AtomicU64, 4> {
        Published::new(AtomicU64::new(0), AtomicU64::new(0), [const { AtomicU64::new(0) }; 4])
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let slot = published();
        assert_eq!(slot.look(), Look::Text(vec![]));
        for text in ["a", "12345678", "123456789", "", "exactly thirty-two bytes of text"] {
            slot.write(text.as_bytes());
            assert_eq!(slot.look(), Look::Text(text.into()));
        }
        slot.write(&[b'x'; 40]);
        assert_eq!(slot.look(), Look::Text(vec![b'x'; 32]), "what has no room is left out");
    }

    #[test]
    fn a_writer_that_ended_while_it_wrote_does_not_block_the_next() {
        let slot = published();
        slot.changes.store(7, Ordering::Relaxed);
        assert_eq!(slot.look(), Look::Changing);
        slot.write(b"next");
        assert_eq!(slot.look(), Look::Text(b"next".into()));
    }
}
