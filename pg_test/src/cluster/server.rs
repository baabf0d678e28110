//! The process of a server.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use crate::process::{self, spawn_dependent};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// How a server ends.
#[derive(Clone, Copy)]
pub(super) enum Shutdown {
    /// Ends the sessions and writes a checkpoint.
    Fast,
    /// Leaves everything as a crash would.
    Immediate,
}

/// A postmaster, our child.
pub(super) struct Server {
    child: Child,
}

impl Server {
    /// Starts the program and waits until it accepts connections.
    pub(super) fn start(program: PathBuf, folder: &Folder) -> Result<Self, String> {
        let log = OpenOptions::new().create(true).append(true).open(folder.log_file()).expect("a log file");
        let mut command = folder.postgres_command(program);
        command.arg("-D").arg(folder.data_dir()).stdout(log.try_clone().expect("the log, for stdout")).stderr(log);
        let child = spawn_dependent(command).map_err(|error| format!("postgres does not start: {error}"))?;
        let mut server = Self { child };
        match server.wait_until_ready(folder) {
            Ok(()) => Ok(server),
            Err(error) => {
                server.kill();
                Err(error)
            }
        }
    }

    fn wait_until_ready(&mut self, folder: &Folder) -> Result<(), String> {
        let pid_file = folder.data_dir().join("postmaster.pid");
        let pid = self.pid().to_string();
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            // What pg_ctl looks at: the pid is in the first line, the status in the eighth.
            let content = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = content.lines();
            if lines.next() == Some(&pid) && lines.nth(6).map(str::trim) == Some("ready") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().expect("the state of our child") {
                return Err(format!("the server ended while starting: {status}"));
            }
            thread::sleep(POLL);
        }
        Err(format!("the server is not ready after {START_TIMEOUT:?}"))
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(super) fn reload(&self) {
        self.signal(libc::SIGHUP);
    }

    /// Stops the server. One that does not stop is killed, which is an error.
    pub(super) fn stop(mut self, shutdown: Shutdown) -> Result<(), String> {
        self.signal(match shutdown {
            Shutdown::Fast => libc::SIGINT,
            Shutdown::Immediate => libc::SIGQUIT,
        });
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        self.kill();
        Err(format!("the server did not stop within {STOP_TIMEOUT:?}"))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of our child")
    }

    fn kill(&mut self) {
        // Both fail only where the child has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: i32) {
        // The child has not been waited for (that takes &mut self, and `stop` then consumes it), so the pid is its own.
        process::signal(self.pid(), signal);
    }
}
