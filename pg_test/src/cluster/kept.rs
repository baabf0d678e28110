//! With `PG_JWKS_KEEP=1`, the folders of the servers that run when a test fails are kept.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::{env, fs, panic, thread};

use parking_lot::Mutex;

/// Locked by the process that uses a folder. The folder of a process that ended is removed by the next one if it still
/// has this file.
pub(super) const LOCK: &str = "in_use";

/// The folders in use, and the threads that made them: tests are named in these.
static IN_USE: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// Whether the user asks for it.
pub(super) fn wanted() -> bool {
    env::var_os("PG_JWKS_KEEP").is_some_and(|value| value == "1")
}

/// A panic from now on keeps this folder.
pub(super) fn watch(folder: &Path) {
    static HOOK: Once = Once::new();
    if !wanted() {
        return;
    }
    HOOK.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            keep_all();
            former(panic);
        }));
    });
    let thread = thread::current().name().unwrap_or("a thread").to_owned();
    IN_USE.lock().push((folder.to_owned(), thread));
}

/// The folder is not in use any more.
pub(super) fn forget(folder: &Path) {
    IN_USE.lock().retain(|(path, _)| path != folder);
}

/// Servers that tests share run until the process ends, so nobody else can say later that they are to be kept.
fn keep_all() {
    for (folder, thread) in &*IN_USE.lock() {
        if fs::remove_file(folder.join(LOCK)).is_ok() {
            eprintln!("PG_JWKS_KEEP: {} is kept; {thread} started it", folder.display());
        }
    }
}
