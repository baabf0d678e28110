//! Waiting for what happens a moment later, and measuring what must happen at once.

use std::thread;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// How long an interrupted wait may take to end, on a machine that is not busy.
const PROMPTLY: Duration = Duration::from_millis(100);

/// What comes out at last; panics if nothing does.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {TIMEOUT:?}");
        thread::sleep(POLL);
    }
}

/// Tries until one attempt is prompt: a busy machine spoils some, a wait that is not interrupted spoils all. An attempt
/// returns how long it took.
#[track_caller]
pub fn promptly(what: &str, mut attempt: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    while times.len() < 3 {
        times.push(attempt());
        if times.last().is_some_and(|time| *time <= PROMPTLY) {
            println!("{what}: {times:?}");
            return;
        }
    }
    panic!("{what} took {times:?}, and not at most {PROMPTLY:?}");
}
