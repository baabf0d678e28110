//! The folder that holds all of a cluster, and the OS user it belongs to.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, thread};

use tempfile::TempDir;

use super::etc;
use super::kept::{self, LOCK};
use super::os_user::OsUser;
use crate::process::run;

/// Fixed, because the path of a Unix socket may have 107 bytes only.
const PARENT: &str = "/tmp";
const PREFIX: &str = "pg_jwks.";

const LOG_TAIL_LINES: usize = 40;

/// A temporary folder that the server's user can enter.
pub(super) struct Folder {
    dir: TempDir,
    server_user: Option<OsUser>,
    /// What the environment of the server has besides.
    environment: Vec<(String, String)>,
    _lock: File,
}

impl Folder {
    pub(super) fn new() -> Self {
        remove_abandoned();
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(PARENT).expect("a temporary folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("permissions of the folder");
        let folder = Self { _lock: lock(dir.path()), server_user: OsUser::for_server(), environment: Vec::new(), dir };
        kept::watch(folder.path());
        folder
    }

    /// Gives the server these variables. To be called before it starts.
    pub(super) fn set_environment(&mut self, variables: Vec<(String, String)>) {
        self.environment = variables;
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.path().join("log")
    }

    pub(super) fn log_length(&self) -> u64 {
        // There is no log before the first start.
        fs::metadata(self.log_file()).map_or(0, |log| log.len())
    }

    /// The server log from that byte on.
    pub(super) fn log_from(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.log_file()) {
            file.seek(SeekFrom::Start(start)).expect("a place in the log");
            file.read_to_end(&mut bytes).expect("the log");
        }
        // Databases may log in other encodings than UTF-8.
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn log_tail(&self) -> String {
        let log = self.log_from(0);
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!("--- end of the server log ---\n{}\n---", tail.join("\n"))
    }

    /// Makes the server's user the owner of `path` and all inside of it, but
    /// not of what links there point to.
    pub(super) fn give_to_server(&self, path: &Path) {
        if let Some(user) = self.server_user {
            let owner = format!("{}:{}", user.uid, user.gid);
            run(Command::new("chown").args(["--no-dereference", "--recursive", &owner]).arg(path));
        }
    }

    /// A program run as the server's user, in this folder, with none of the
    /// caller's libpq settings.
    pub(super) fn server_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        if let Some(user) = self.server_user {
            // This also clears the supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// The server itself, with the parts of `/etc` that it has of its own.
    pub(super) fn postgres_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mounts = etc::mounts(self.path());
        if mounts.is_empty() {
            return self.server_command(program);
        }
        let mut command = self.command(program);
        let user = self.server_user.expect("parts of /etc of a server's own need root");
        etc::run_with(&mut command, mounts, user);
        command
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).stdin(Stdio::null());
        remove_libpq_environment(&mut command);
        // For a backtrace, each error of a backend would read the symbols of the whole library.
        command.env_remove("RUST_BACKTRACE");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(library) = env::var_os("PG_JWKS_PRELOAD") {
            command.env("LD_PRELOAD", library);
        }
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        kept::forget(self.path());
        self.dir.disable_cleanup(kept::wanted() && thread::panicking());
    }
}

/// A caller's PGHOST, PGOPTIONS and the like are about another server.
pub(super) fn remove_libpq_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
}

fn lock(folder: &Path) -> File {
    // Named only when locked, so that nobody finds it without its lock.
    let unnamed = folder.join("new_lock");
    let file = File::create(&unnamed).expect("a lock file");
    file.lock().expect("a lock");
    fs::rename(unnamed, folder.join(LOCK)).expect("a name for the lock file");
    file
}

/// Removes the folders of processes that were killed: their locks are free.
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(PARENT) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        if let Ok(file) = File::open(entry.path().join(LOCK))
            && file.try_lock().is_ok()
        {
            // Somebody else may be removing it as well, or it may not be ours to remove.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
