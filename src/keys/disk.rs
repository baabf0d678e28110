//! Last-known-good keys below the data directory, so that a restart during a provider's outage still verifies.
//!
//! A file is written to a temporary name, synced and renamed. Keys from files are not stored again, and shared secrets come from nowhere else, so nothing
//! secret is here.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pg_jwks_core::cache::stored::{MAX_STORED_BYTES, Stored};
use pg_jwks_core::digest::digest;

use super::location::Location;
use super::source::{KeySource, Provenance};

/// Below the data directory, which is the working directory of every server process.
const DIRECTORY: &str = "pg_jwks";

/// Saves a document.
pub fn save(source: &KeySource, stored: &Stored) -> io::Result<()> {
    let Some(path) = path(source) else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
    let contents = stored.encode(source.provenance())?;
    let temporary = path.with_extension("tmp");
    // One that was left behind may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&contents)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(DIRECTORY)?.sync_all()
}

/// Loads the document of a source, if one was stored. The error says why a file that is there is ignored.
pub fn load(source: &KeySource) -> Result<Option<Stored>, String> {
    let Some(path) = path(source) else { return Ok(None) };
    match read(source, &path) {
        Ok(stored) => Ok(Some(stored)),
        Err(Problem::Missing) => Ok(None),
        Err(Problem::Bad(what)) => Err(format!("File \"{}\" is ignored: {what}.", path.display())),
    }
}

enum Problem {
    Missing,
    Bad(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Bad(error.to_string()),
        }
    }
}

fn read(source: &KeySource, path: &Path) -> Result<Stored, Problem> {
    let bad = |what: &str| Problem::Bad(what.into());
    let directory = fs::symlink_metadata(DIRECTORY)?;
    if !directory.is_dir() || !only_server_writes(&directory) {
        return Err(bad("its directory is not one that only the server can write"));
    }
    // Opening a FIFO must not hang, and a link leads elsewhere.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || !only_server_writes(&metadata) {
        return Err(bad("it is not a regular file that only the server can write"));
    }
    let mut contents = Vec::new();
    file.take(MAX_STORED_BYTES as u64).read_to_end(&mut contents)?;
    let (stored, provenance) = Stored::decode::<Provenance>(&contents).ok_or_else(|| bad("it is damaged"))?;
    match provenance == source.provenance() {
        true => Ok(stored),
        false => Err(bad("its keys were fetched under other settings")),
    }
}

fn only_server_writes(metadata: &Metadata) -> bool {
    // SAFETY: geteuid takes no arguments, touches no memory and cannot fail.
    metadata.uid() == unsafe { libc::geteuid() } && metadata.mode() & 0o022 == 0
}

/// Where the document of a source is: one file for each provenance.
fn path(source: &KeySource) -> Option<PathBuf> {
    if let Location::File(_) = source.location {
        return None;
    }
    let key = source.provenance().key()?;
    Some(PathBuf::from(DIRECTORY).join(hex::encode(digest(&key)) + ".jwks"))
}
