//! Parts of `/etc` of a server's own, PAM services or names of hosts: it runs in a mount namespace in which they are in its
//! cluster's folder, so that the machine's stay as they are.

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

/// What a server can have of its own.
const PARTS: [(&str, &CStr); 2] = [("pam.d", c"/etc/pam.d"), ("hosts", c"/etc/hosts")];

/// The PAM services of the server with this folder.
pub(super) fn pam_services(folder: &Path) -> PathBuf {
    folder.join("etc/pam.d")
}

/// Gives it the PAM services that the machine has.
pub(super) fn make_pam_services(folder: &Path) {
    let own = pam_services(folder);
    fs::create_dir_all(&own).expect("a folder for PAM services");
    for entry in fs::read_dir("/etc/pam.d").expect("the machine's PAM services") {
        let entry = entry.expect("a PAM service");
        if entry.path().is_file() {
            fs::copy(entry.path(), own.join(entry.file_name())).expect("a copy of a PAM service");
        }
    }
}

/// Gives it these names of hosts.
pub(super) fn write_hosts(folder: &Path, lines: &str) {
    let etc = folder.join("etc");
    fs::create_dir_all(&etc).expect("a folder for names of hosts");
    fs::write(etc.join("hosts"), lines).expect("names of hosts");
}

/// What is mounted where for the server with this folder.
pub(super) fn mounts(folder: &Path) -> Vec<(CString, &'static CStr)> {
    let own = PARTS.into_iter().map(|(name, system)| (folder.join("etc").join(name), system));
    let there = own.filter(|(path, _)| path.exists());
    there.map(|(path, system)| (CString::new(path.as_os_str().as_bytes()).expect("a path"), system)).collect()
}

/// Writes the file of a service.
pub(super) fn write_service(services: &Path, name: &str, lines: &str) {
    let path = services.join(name);
    fs::write(&path, lines).expect("a PAM service");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("permissions of a PAM service");
}

/// Runs a command as `user` with these mounts. Only root can.
pub(super) fn run_with(command: &mut Command, mounts: Vec<(CString, &'static CStr)>, user: OsUser) {
    let enter = move || {
        let done = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: system calls that are safe between fork and exec, with C strings that the closure owns.
        unsafe {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            done(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()))?;
            for (own, system) in &mounts {
                done(libc::mount(own.as_ptr(), system.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null()))?;
            }
            done(libc::setgroups(0, ptr::null()))?;
            done(libc::setgid(user.gid))?;
            done(libc::setuid(user.uid))
        }
    };
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(enter) };
}
