//! Fetching on a thread while the backend waits on its latch, so that cancel, `statement_timeout` and shutdown
//! interrupt the wait.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use std::{mem, ptr, thread};

use pg_jwks_core::time::Timestamp;
use pgrx::pg_sys;

use super::fetch::{Outcome, Validators, fetch};
use super::source::KeySource;
use crate::pg::clock;

/// A fetch under way. Its thread touches nothing of PostgreSQL and ends by itself within the request's timeouts.
pub struct Fetching {
    begun: Timestamp,
    result: Receiver<(Timestamp, Result<Outcome, String>)>,
    done: UnixStream,
}

/// How far a fetch is.
pub enum Progress {
    /// Not done.
    UnderWay,
    /// Done.
    Done(Ended),
}

/// How a fetch ended.
pub struct Ended {
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it brought, or why it brought nothing.
    pub result: Result<Outcome, String>,
}

impl Fetching {
    /// Starts a thread that fetches, at the moment `begun`. The worker passes what it knows of the last answer, and a
    /// bell to ring when done.
    pub fn begin(source: KeySource, begun: Timestamp, worker: Option<(Validators, UnixStream)>) -> io::Result<Self> {
        let (sender, result) = channel();
        let (done, signal) = UnixStream::pair()?;
        done.set_nonblocking(true)?;
        // PostgreSQL's signal handlers must run on the backend's own thread. The new one inherits this mask.
        let _blocked = block_signals();
        thread::Builder::new().name("pg_jwks fetch".into()).spawn(move || {
            // The socket closes when this ends, also by a panic, and that is what the backend waits for.
            let _signal = signal;
            let (validators, bell) = worker.unzip();
            let result = fetch(&source, &validators.unwrap_or_default());
            // The backend may have given up waiting.
            let _ = sender.send((clock::now(), result));
            if let Some(mut bell) = bell {
                let _ = bell.write_all(&[1]);
            }
        })?;
        Ok(Self { begun, result, done })
    }

    /// How far it is.
    pub fn progress(&mut self) -> Progress {
        let (ended, result) = match self.result.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return Progress::UnderWay,
            Err(TryRecvError::Disconnected) => (clock::now(), Err("The fetch ended unexpectedly.".into())),
        };
        Progress::Done(Ended { begun: self.begun, ended, result })
    }

    /// What to wait for.
    pub fn readiness(&self) -> Readiness {
        Readiness(self.done.try_clone().map(OwnedFd::from))
    }
}

/// Becomes ready when a fetch is done.
pub struct Readiness(io::Result<OwnedFd>);

impl Readiness {
    /// Waits, at most `timeout` and a moment for the thread to end; false if that was not enough. Raises if the wait is
    /// cancelled.
    pub fn wait(self, timeout: Duration) -> bool {
        const MOMENT: Duration = Duration::from_millis(250);
        let Ok(socket) = self.0 else { return false };
        let deadline = Instant::now() + timeout + MOMENT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let events =
                pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            // SAFETY: MyLatch is this process's own from its start to its end, and `socket` keeps the descriptor open
            // during the call. If the call raises, nothing is left to undo.
            let happened = unsafe {
                let happened = pg_sys::WaitLatchOrSocket(
                    pg_sys::MyLatch,
                    events as i32,
                    socket.as_raw_fd(),
                    i64::try_from(left.as_millis()).unwrap_or(0),
                    pg_sys::PG_WAIT_EXTENSION,
                );
                if happened & pg_sys::WL_LATCH_SET as i32 != 0 {
                    pg_sys::ResetLatch(pg_sys::MyLatch);
                }
                happened
            };
            pgrx::check_for_interrupts!();
            if happened & pg_sys::WL_SOCKET_READABLE as i32 != 0 {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}

/// Blocks all signals on this thread for as long as the result lives.
fn block_signals() -> impl Drop {
    // SAFETY: a set is plain bits, for which all zero is a value. Each call gets pointers to sets that live until it
    // returns, and keeps none of them.
    let before = unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    // SAFETY: the set is the mask that this thread had before, and lives until the call returns. The NULL says that
    // nobody wants the former mask.
    scopeguard::guard(before, |before| unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
    })
}
