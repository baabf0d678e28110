//! As whom a server runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::process::run;

/// The user and group of a process.
#[derive(Clone, Copy)]
pub(super) struct OsUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl OsUser {
    /// Who runs the server: root must not, so `postgres` does in root's stead;
    /// anybody else runs it as themselves.
    pub(super) fn for_server() -> Option<Self> {
        let this_process = fs::metadata("/proc/self").expect("/proc is mounted");
        if this_process.uid() != 0 {
            return None;
        }
        let id = |option| {
            let output = run(Command::new("id").args([option, "postgres"]));
            output.trim().parse().expect("id prints a number")
        };
        Some(Self { uid: id("-u"), gid: id("-g") })
    }
}
