//! PAM services of a server's own: it runs in a mount namespace in which `/etc/pam.d` is a folder of its cluster, so that
//! the machine's stays as it is.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use super::os_user::OsUser;

const SYSTEM: &CStr = c"/etc/pam.d";

/// Makes the folder, with the services that the machine has.
pub(super) fn make_folder(folder: &Path) -> PathBuf {
    let own = folder.join("pam.d");
    fs::create_dir(&own).expect("a folder for PAM services");
    for entry in fs::read_dir("/etc/pam.d").expect("the machine's PAM services") {
        let entry = entry.expect("a PAM service");
        if entry.path().is_file() {
            fs::copy(entry.path(), own.join(entry.file_name())).expect("a copy of a PAM service");
        }
    }
    own
}

/// Writes the file of a service.
pub(super) fn write_service(services: &Path, name: &str, lines: &str) {
    let path = services.join(name);
    fs::write(&path, lines).expect("a PAM service");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("permissions of a PAM service");
}

/// Runs a command as `user` with these PAM services. Only root can.
pub(super) fn run_with(command: &mut Command, services: &Path, user: OsUser) {
    let services = CString::new(services.as_os_str().as_bytes()).expect("a path");
    let enter = move || {
        let done = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: system calls that are safe between fork and exec, with C strings that the closure owns.
        unsafe {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            done(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()))?;
            done(libc::mount(services.as_ptr(), SYSTEM.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null()))?;
            done(libc::setgroups(0, ptr::null()))?;
            done(libc::setgid(user.gid))?;
            done(libc::setuid(user.uid))
        }
    };
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(enter) };
}
