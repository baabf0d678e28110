//! Last-known-good keys below the data directory, so that a restart during a provider's outage still verifies.
//!
//! A file has the SHA-256 of the rest, a line of JSON about the document, and the document. It is written to a temporary
//! name, synced and renamed. Keys from files are not stored again, and shared secrets come from nowhere else, so nothing
//! secret is here.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pg_jwks_core::bounds::MAX_DOCUMENT_BYTES;
use pg_jwks_core::digest::digest;
use pg_jwks_core::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::location::Location;
use super::source::{KeySource, Provenance};

/// Below the data directory, which is the working directory of every server process.
const DIRECTORY: &str = "pg_jwks";

/// Bytes of the lines before the document.
const MAX_HEAD_BYTES: u64 = 8192;

/// A stored document.
pub struct Stored {
    /// The key document.
    pub document: Vec<u8>,
    /// When it was fetched.
    pub fetched: Timestamp,
    /// How long it was fresh.
    pub life: Span,
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "origin")]
    provenance: Provenance,
    fetched: Timestamp,
    life: Span,
}

/// Saves a document.
pub fn save(source: &KeySource, stored: &Stored) -> io::Result<()> {
    let Some(path) = path(source) else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
    let head = Head { provenance: source.provenance(), fetched: stored.fetched, life: stored.life };
    let mut text = serde_json::to_vec(&head)?;
    text.push(b'\n');
    text.extend_from_slice(&stored.document);
    let temporary = path.with_extension("tmp");
    // One that was left behind may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{}", hex::encode(digest(&text)))?;
    file.write_all(&text)?;
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
    let mut text = Vec::new();
    file.take(MAX_DOCUMENT_BYTES as u64 + MAX_HEAD_BYTES).read_to_end(&mut text)?;
    let damaged = || bad("it is damaged");
    let (sum, rest) = line(&text).ok_or_else(damaged)?;
    if sum != hex::encode(digest(rest)).as_bytes() {
        return Err(damaged());
    }
    let (head, document) = line(rest).ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(head).map_err(|_| damaged())?;
    if head.provenance != source.provenance() {
        return Err(bad("its keys were fetched under other settings"));
    }
    Ok(Stored { document: document.to_vec(), fetched: head.fetched, life: head.life })
}

/// The first line, and the rest.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
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
