//! Drivers and programs of npm and PyPI, at the versions that `pg_test/clients` pins.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

/// The folder with `node_modules` and `venv`; the first caller on a machine
/// installs them.
pub fn installed() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let provision = concat!(env!("CARGO_MANIFEST_DIR"), "/provision");
        let output = Command::new(provision).arg("--clients").stderr(Stdio::inherit()).output().expect("provision");
        assert!(output.status.success(), "{provision} --clients: {}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8").trim().into()
    });
    &FOLDER
}

/// A temporary folder with these scripts, named and given as text, where Node
/// finds the installed modules: it looks for them beside the script.
pub fn node_folder(scripts: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(installed().join("node_modules"), folder.path().join("node_modules")).expect("a link");
    for (name, text) in scripts {
        fs::write(folder.path().join(name), text).expect("a script");
    }
    folder
}
