//! A private installation: the system's PostgreSQL plus the staged extension.
//!
//! A server looks for its files relative to where its executable really is. So
//! the executables are copied, into the same layout as they came from, and all
//! else there is links to the system's files.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use super::folder::remove_libpq_environment;
use crate::process::run;

const EXECUTABLES: [&str; 3] = ["postgres", "initdb", "pg_ctl"];
const EXTENSION: &str = "pg_jwks";
const PAM_MODULE: &str = "pam_pg_jwks.so";

/// The files of the built extension.
pub(super) struct Stage {
    library: PathBuf,
    /// The control file and the scripts.
    extension: Vec<PathBuf>,
    /// The module for PAM.
    pam_module: PathBuf,
}

impl Stage {
    pub(super) fn from_environment() -> Self {
        let Some(folder) = env::var_os("PG_JWKS_STAGE") else {
            panic!("PG_JWKS_STAGE is not set: run `make test`");
        };
        let folder = PathBuf::from(folder);
        let library = folder.join("pg_jwks.so");
        let control = folder.join("pg_jwks.control");
        assert!(
            library.exists() && control.exists(),
            "PG_JWKS_STAGE holds no pg_jwks.so or no pg_jwks.control: {}",
            folder.display()
        );
        let scripts = entries(&folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "sql"));
        let pam_module = folder.join(PAM_MODULE);
        Self { library, extension: iter::once(control).chain(scripts).collect(), pam_module }
    }
}

/// The private installation of one cluster.
pub(super) struct Install {
    bindir: PathBuf,
    system_bindir: PathBuf,
    library: PathBuf,
    pam_module: PathBuf,
    major_version: u32,
}

impl Install {
    pub(super) fn new(folder: &Path, stage: Option<&Stage>) -> Self {
        let pg_config = PgConfig::from_environment();
        let system_bindir = pg_config.path("--bindir");
        let sharedir = pg_config.path("--sharedir");
        let pkglibdir = pg_config.path("--pkglibdir");
        let common = common_folder(&[&system_bindir, &sharedir, &pkglibdir]);
        let private = |system: &Path| {
            let inside = system.strip_prefix(&common).expect("a folder inside of the common one");
            let path = folder.join("install").join(inside);
            fs::create_dir_all(&path).expect("a folder of the installation");
            path
        };

        let bindir = private(&system_bindir);
        for name in EXECUTABLES {
            fs::copy(system_bindir.join(name), bindir.join(name))
                .unwrap_or_else(|error| panic!("{name} of {}: {error}", system_bindir.display()));
        }
        link_entries(&sharedir, &private(&sharedir), "extension");
        let extension = sharedir.join("extension");
        link_entries(&extension, &private(&extension), EXTENSION);
        link_entries(&pkglibdir, &private(&pkglibdir), EXTENSION);
        let pam_module = folder.join("install").join(PAM_MODULE);
        if let Some(stage) = stage {
            fs::copy(&stage.pam_module, &pam_module).expect("the module for PAM");
            // Copied, for the stage may be rebuilt, and the server's user may not reach it.
            copy_into(&stage.library, &private(&pkglibdir));
            for file in &stage.extension {
                copy_into(file, &private(&extension));
            }
        }
        let library = private(&pkglibdir).join("pg_jwks.so");
        Self { bindir, system_bindir, library, pam_module, major_version: pg_config.major_version() }
    }

    /// One of the executables that find the private installation.
    pub(super) fn server_program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// Where a client program of the system is.
    pub(super) fn client_program(&self, name: &str) -> PathBuf {
        self.system_bindir.join(name)
    }

    /// A client program of the system, without the caller's libpq settings.
    pub(super) fn client_command(&self, name: &str) -> Command {
        let mut command = Command::new(self.client_program(name));
        remove_libpq_environment(&mut command);
        command
    }

    /// Puts new files in the place of the library and of the module for PAM, as a package's upgrade does: under a name of
    /// their own, which then replaces the old one. `make` gets the old file's bytes.
    pub(super) fn replace_libraries(&self, make: impl Fn(Vec<u8>) -> Vec<u8>) {
        for old in [&self.library, &self.pam_module] {
            let new = old.with_extension("new");
            fs::write(&new, make(fs::read(old).expect("a library"))).expect("a new library");
            fs::rename(&new, old).expect("the new library in its place");
        }
    }

    /// Where the module for PAM is.
    pub(super) fn pam_module(&self) -> &Path {
        &self.pam_module
    }

    pub(super) fn major_version(&self) -> u32 {
        self.major_version
    }
}

/// The `pg_config` of the PostgreSQL to use.
pub(super) struct PgConfig(OsString);

impl PgConfig {
    pub(super) fn from_environment() -> Self {
        Self(env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into()))
    }

    fn value(&self, option: &str) -> String {
        run(Command::new(&self.0).arg(option)).trim().to_owned()
    }

    fn path(&self, option: &str) -> PathBuf {
        self.value(option).into()
    }

    pub(super) fn major_version(&self) -> u32 {
        // "PostgreSQL 15.16 (Debian 15.16-0+deb12u1)", "PostgreSQL 18beta1"
        let version = self.value("--version");
        let number = version.trim_start_matches("PostgreSQL ");
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        if let Some(compiled_for) = option_env!("PG_TEST_MAJOR_VERSION") {
            // Other tests apply to another version, and which was decided when they were compiled.
            assert_eq!(&number[..end], compiled_for, "compile pg_test again: the tests are for another PostgreSQL");
        }
        number[..end].parse().unwrap_or_else(|_| panic!("pg_config says it is {version:?}"))
    }
}

fn common_folder(paths: &[&Path]) -> PathBuf {
    let is_common = |folder: &&Path| paths.iter().all(|path| path.starts_with(folder));
    paths[0].ancestors().find(is_common).expect("the root folder").to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a folder entry").path()).collect()
}

/// Links everything in `from` into `to`, but what starts with `except`: that
/// becomes a folder of its own, or comes from the stage.
fn link_entries(from: &Path, to: &Path, except: &str) {
    for path in entries(from) {
        let name = path.file_name().expect("a name");
        if !name.as_encoded_bytes().starts_with(except.as_bytes()) {
            symlink(&path, to.join(name)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

fn copy_into(file: &Path, folder: &Path) {
    let to = folder.join(file.file_name().expect("a name"));
    fs::copy(file, to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
