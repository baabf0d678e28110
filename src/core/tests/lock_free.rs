//! What processes read without a lock, run in every order that the memory model allows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;
use pg_jwks_core::cache::published::{AtomicWord, Look, Published};

/// An atomic number of the model checker.
struct Word(AtomicU64);

impl Word {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl AtomicWord for Word {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

fn published() -> Published<Word, 2> {
    Published::new(Word::new(), Word::new(), [Word::new(), Word::new()])
}

#[test]
fn no_reader_sees_half_of_a_published_text() {
    loom::model(|| {
        let slot = Arc::new(published());
        let writer = slot.clone();
        let writing = thread::spawn(move || {
            writer.write(&[1; 16]);
            writer.write(&[2; 9]);
        });
        match slot.look() {
            Look::Changing => {}
            Look::Text(text) => {
                let whole: [&[u8]; 3] = [&[], &[1; 16], &[2; 9]];
                assert!(whole.contains(&text.as_slice()), "torn: {text:?}");
            }
        }
        writing.join().unwrap();
        assert_eq!(slot.look(), Look::Text(vec![2; 9]));
    });
}

#[test]
fn a_reader_that_has_seen_a_text_sees_no_older_one() {
    loom::model(|| {
        let slot = Arc::new(published());
        let writer = slot.clone();
        let writing = thread::spawn(move || {
            writer.write(&[1; 8]);
            writer.write(&[2; 8]);
        });
        let (first, second) = (slot.look(), slot.look());
        if let (Look::Text(first), Look::Text(second)) = (first, second) {
            assert!(second.first() >= first.first(), "{second:?} after {first:?}");
        }
        writing.join().unwrap();
    });
}

/// The protocol of everything that a lock guards and a generation counts, as the keys of the cluster are: the writer counts
/// under the lock, and a reader notes the count before it takes the lock. Whoever has noted the newest count has what it
/// counts.
#[test]
fn a_reader_that_has_noted_a_generation_has_its_contents() {
    loom::model(|| {
        let generation = Arc::new(AtomicU64::new(0));
        let contents = Arc::new(Mutex::new(0));
        let (counter, guarded) = (generation.clone(), contents.clone());
        let writing = thread::spawn(move || {
            for version in 1..=2 {
                let mut contents = guarded.lock().unwrap();
                *contents = version;
                counter.fetch_add(1, Ordering::Release);
            }
        });
        let noted = generation.load(Ordering::Acquire);
        let read = *contents.lock().unwrap();
        assert!(read >= noted, "generation {noted} has contents {read}");
        if generation.load(Ordering::Acquire) == noted {
            assert!(*contents.lock().unwrap() >= read);
        }
        writing.join().unwrap();
        assert_eq!((generation.load(Ordering::Acquire), *contents.lock().unwrap()), (2, 2));
    });
}
