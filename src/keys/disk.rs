//! Last-known-good keys below the data directory, so that a restart during a provider's outage still verifies.
//!
//! A file has one line of JSON about the document, and then the document. It is written to a temporary name, synced and
//! renamed. Keys from files are not stored again, and shared secrets come from nowhere else, so nothing secret is here.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use pg_jwks_core::bounds::MAX_DOCUMENT_BYTES;
use pg_jwks_core::token_cache::digest;
use serde::{Deserialize, Serialize};

use super::location::{Location, Origin};

/// Below the data directory, which is the working directory of every server process.
const DIRECTORY: &str = "pg_jwks";

/// Bytes of the first line.
const MAX_HEAD_BYTES: u64 = 8192;

/// A stored document.
pub struct Stored {
    /// The key document.
    pub document: Vec<u8>,
    /// When it was fetched, in microseconds since the Unix epoch.
    pub fetched: i64,
    /// How long it was fresh, in microseconds.
    pub life: i64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    origin: Origin,
    fetched: i64,
    life: i64,
    sha256: String,
}

/// Stores a document.
pub fn store(origin: &Origin, stored: &Stored) -> io::Result<()> {
    let Some(path) = path(origin) else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
    let head = Head {
        origin: origin.clone(),
        fetched: stored.fetched,
        life: stored.life,
        sha256: hex(&digest(&stored.document)),
    };
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    serde_json::to_writer(&mut file, &head)?;
    file.write_all(b"\n")?;
    file.write_all(&stored.document)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(DIRECTORY)?.sync_all()
}

/// Loads the document of an origin, where one was stored under the same settings. The error says why a file that is
/// there is ignored.
pub fn load(origin: &Origin) -> Result<Option<Stored>, String> {
    let Some(path) = path(origin) else { return Ok(None) };
    let problem = |what: &str| format!("File \"{}\" is ignored: {what}.", path.display());
    let metadata = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(&error.to_string())),
        Ok(metadata) => metadata,
    };
    // SAFETY: reads the identity of the process.
    let user = unsafe { libc::geteuid() };
    if !metadata.is_file() || metadata.uid() != user || metadata.mode() & 0o022 != 0 {
        return Err(problem("it is not a regular file that only the server can write"));
    }
    let mut text = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64 + MAX_HEAD_BYTES;
    let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut text));
    read.map_err(|error| problem(&error.to_string()))?;
    let damaged = || problem("it is damaged");
    let end = text.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&text[..end]).map_err(|_| damaged())?;
    let document = text.split_off(end + 1);
    if head.sha256 != hex(&digest(&document)) {
        return Err(damaged());
    }
    // Another origin of the same location: other settings, so other trust.
    let same = head.origin.location == origin.location && head.origin.network == origin.network;
    Ok(same.then_some(Stored { document, fetched: head.fetched, life: head.life }))
}

fn path(origin: &Origin) -> Option<PathBuf> {
    match &origin.location {
        Location::File(_) => None,
        location => Some(PathBuf::from(DIRECTORY).join(hex(&digest(location.to_string().as_bytes())) + ".jwks")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
