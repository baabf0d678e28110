//! Node.js packages that tests run.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::run;

/// `node`, to be run in a copy of a package that has the dependencies of its lock file and has run its script
/// `build`. The copy is in `target/node`, one for each content of the package, and is kept. Installs Node.js where it
/// is missing, or panics with what to run.
pub fn node(package: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let files = files(package);
    let name = package.file_name().expect("a name").to_string_lossy();
    let copy = root.join("target/node").join(format!("{name}-{:016x}", content(package, &files)));
    fs::create_dir_all(&copy).expect("a folder for the package");
    let lock = File::create(copy.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let complete = copy.join(".complete");
    if !complete.exists() {
        run(Command::new(root.join("pg_test/provision")).arg("--node"));
        for file in &files {
            let to = copy.join(file.strip_prefix(package).expect("a file of the package"));
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder of the package");
            fs::copy(file, to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        run(npm(&copy).args(["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"]));
        run(npm(&copy).args(["run", "build", "--if-present"]));
        File::create(complete).expect("a file that tells whole copies from interrupted ones");
    }
    let mut command = Command::new("node");
    command.current_dir(copy).stdin(Stdio::null());
    command
}

fn npm(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn content(package: &Path, files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(package).expect("a file of the package").hash(&mut hasher);
        fs::read(file).expect("a file of the package").hash(&mut hasher);
    }
    hasher.finish()
}

/// The package's files, sorted, without what a developer made there.
fn files(package: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![package.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry of the package").path();
            let made = ["node_modules", "dist", "keys"].iter().any(|name| path.ends_with(name));
            match path.is_dir() {
                true if made => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}
