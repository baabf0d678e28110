//! Programs that the harness and the tests run.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

/// Runs a program to its end and returns what it printed on standard output; panics if it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Spawns a process that gets SIGQUIT when this process ends, however it ends.
pub(crate) fn spawn_dependent(mut command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    // The kernel sends the signal when the *thread* ends that spawned the child,
    // and a test's thread ends before those of the tests it shares a server with.
    static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                // The caller waits for the reply, so it is there to take it.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let die_with_parent = || {
        // SAFETY: prctl with these arguments reads no memory, and it is safe to
        // call between fork and exec.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes one async-signal-safe system call and allocates nothing.
    unsafe { command.pre_exec(die_with_parent) };
    let (reply, child) = mpsc::channel();
    SPAWNER.send((command, reply)).expect("the spawning thread runs");
    child.recv().expect("the spawning thread replies")
}

/// Sends a signal to a process that is there.
#[track_caller]
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: kill takes no pointers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal {signal} to {pid}: {}", io::Error::last_os_error());
}
