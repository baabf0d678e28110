//! A running server, and what can be asked of it.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{io, thread};

use parking_lot::Mutex;
#[cfg(feature = "drivers")]
use postgres::{Client, NoTls};

use super::etc;
use super::folder::Folder;
use super::install::Install;
use super::server::{Server, Shutdown};

pub(super) const HOST: &str = "127.0.0.1";

/// A place in the server log; what was logged later is read with
/// [`Cluster::log_since`].
#[derive(Clone, Copy, Debug)]
pub struct LogMark(u64);

/// A running server. It stops, and its folder goes, when this is dropped; a
/// server left in a static stops with the process, and its folder goes when the
/// next cluster starts.
pub struct Cluster {
    // Fields drop in this order: the server before the files it uses.
    server: Mutex<Option<Server>>,
    folder: Folder,
    install: Install,
    port: u16,
}

impl Cluster {
    /// One that has yet to get a port, a data directory and its first start.
    pub(super) fn stopped(folder: Folder, install: Install) -> Self {
        Self { server: Mutex::new(None), folder, install, port: 0 }
    }

    pub(super) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// The address it listens on.
    pub fn host(&self) -> &str {
        HOST
    }

    /// The TCP port, also part of the Unix socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.data_dir()
    }

    /// The server's major version.
    pub fn major_version(&self) -> u32 {
        self.install.major_version()
    }

    /// The process id of the postmaster; panics when the server is stopped.
    pub fn postmaster_pid(&self) -> i32 {
        self.server.lock().as_ref().expect("a running server").pid()
    }

    /// Writes a file into the data directory (`pg_hba.conf`, a certificate, a
    /// key) that only the server can read.
    pub fn write_file(&self, name: &str, contents: &str) -> PathBuf {
        self.write_bytes(name, contents.as_bytes())
    }

    /// The same of any bytes.
    pub fn write_bytes(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.data_dir().join(name);
        fs::write(&path, contents).expect("a file in the data directory");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("permissions of the file");
        self.folder.give_to_server(&path);
        path
    }

    /// Writes the file of a PAM service of the server's own. `{module}` in it is the path of `pam_pg_jwks.so`.
    pub fn write_pam_service(&self, name: &str, lines: &str) {
        let module = self.install.pam_module();
        let lines = lines.replace("{module}", &module.to_string_lossy());
        etc::write_service(&etc::pam_services(self.folder.path()), name, &lines);
    }

    /// Replaces the extension's libraries on disk, as a package's upgrade does. `make` gets the old file's bytes.
    pub fn replace_libraries(&self, make: impl Fn(Vec<u8>) -> Vec<u8>) {
        self.install.replace_libraries(make);
    }

    /// `psql` without any start-up file, aimed at this server as the superuser.
    pub fn psql(&self) -> Command {
        let mut command = self.program("psql");
        command.arg("--no-psqlrc");
        command
    }

    /// A client program of this PostgreSQL (`pg_dump`, `pg_restore`), aimed at this server as the superuser.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.install.client_command(name);
        command
            .env("PGHOST", HOST)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres");
        command
    }

    /// A shell that runs commands up to the first that fails, also within a pipe. It finds the client programs of this
    /// PostgreSQL, aimed at this server.
    pub fn shell(&self, commands: &str) -> Command {
        let psql = self.program("psql");
        let programs = Path::new(psql.get_program()).parent().expect("a folder").display().to_string();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", commands])
            .env("PATH", format!("{programs}:{}", std::env::var("PATH").expect("PATH")))
            .envs([("PGHOST", HOST), ("PGPORT", &self.port.to_string())]);
        command
    }

    /// Runs a script with psql up to its first error. Both results hold all
    /// that psql printed, in order; an error means that the script failed.
    pub fn run_sql_file(&self, user: &str, db: &str, path: impl AsRef<Path>) -> Result<String, String> {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut command = self.psql();
        command
            .args(["--set=ON_ERROR_STOP=1", "--username", user, "--dbname", db, "--file"])
            .arg(path.as_ref())
            .stdout(writer.try_clone().expect("the pipe, for stdout"))
            .stderr(writer);
        let mut child = command.spawn().expect("psql starts");
        // Until our copies of the writing end are closed, there is no end of file.
        drop(command);
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("psql prints UTF-8");
        let status = child.wait().expect("psql ends");
        if status.success() { Ok(output) } else { Err(output) }
    }

    /// The whole server log.
    pub fn log(&self) -> String {
        self.folder.log_from(0)
    }

    /// Where the server log ends now.
    pub fn log_mark(&self) -> LogMark {
        LogMark(self.folder.log_length())
    }

    /// What was logged after `mark`.
    pub fn log_since(&self, mark: LogMark) -> String {
        self.folder.log_from(mark.0)
    }

    /// Makes the server read its configuration files again. It does so a moment later.
    pub fn reload(&self) {
        self.server.lock().as_ref().expect("a running server").reload();
    }

    /// Stops the server as `pg_ctl stop` does, sessions included.
    pub fn stop(&self) {
        if let Some(server) = self.server.lock().take() {
            server.stop(Shutdown::Fast).unwrap_or_else(|error| panic!("{error}\n{}", self.folder.log_tail()));
        }
    }

    /// Stops the server if it runs, and starts it with the same data and port.
    pub fn restart(&self) {
        self.stop();
        self.launch().unwrap_or_else(|error| panic!("{error}\n{}", self.folder.log_tail()));
    }

    /// Starts the server in a data directory that is there.
    pub(super) fn launch(&self) -> Result<(), String> {
        let server = Server::start(self.install.server_program("postgres"), &self.folder)?;
        *self.server.lock() = Some(server);
        Ok(())
    }
}

#[cfg(feature = "drivers")]
impl Cluster {
    /// A session of the superuser `postgres` in the database `postgres`.
    pub fn client(&self) -> Client {
        self.connect("postgres", "postgres")
    }

    /// A session of `user` in `db`.
    pub fn connect(&self, user: &str, db: &str) -> Client {
        let mut config = self.config();
        self.try_connect(config.user(user).dbname(db))
            .unwrap_or_else(|error| panic!("cannot connect to {db} as {user}: {error:?}"))
    }

    /// A session that may be refused; start from [`Cluster::config`].
    pub fn try_connect(&self, config: &mut postgres::Config) -> Result<Client, postgres::Error> {
        config.connect(NoTls)
    }

    /// How to reach this server over TCP as the superuser.
    pub fn config(&self) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host(HOST).port(self.port).user("postgres").dbname("postgres");
        config
    }

    /// Creates a database with another encoding.
    pub fn create_database(&self, name: &str, encoding: &str) {
        let name = name.replace('"', "\"\"");
        let statement =
            format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
        self.client().batch_execute(&statement).expect("CREATE DATABASE");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().take()
            && let Err(error) = server.stop(Shutdown::Immediate)
        {
            eprintln!("{error}");
        }
        if thread::panicking() {
            eprintln!("{}", self.folder.log_tail());
        }
    }
}
