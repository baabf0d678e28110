//! PgBouncer in front of a cluster.

use std::fs::{self, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::running::{Cluster, HOST};
use crate::clients;
use crate::process::spawn_dependent;

const PORT: u16 = 6432;
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running PgBouncer. It stops when this is dropped.
pub struct PgBouncer {
    child: Child,
    folder: Folder,
}

impl Cluster {
    /// A PgBouncer that lets everybody into this cluster's databases as `user`. `settings` are lines of the section
    /// `[pgbouncer]` of its configuration.
    pub fn pgbouncer(&self, user: &str, settings: &str) -> PgBouncer {
        // It brings the program where there is none.
        clients::installed();
        let folder = Folder::new();
        // A socket in a folder of its own: nobody else can take that address.
        let configuration = format!(
            "[databases]\n* = host={HOST} port={} user={user}\n[pgbouncer]\nlisten_port = {PORT}\n\
             unix_socket_dir = {}\nauth_type = any\n{settings}\n",
            self.port(),
            folder.path().display(),
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, configuration).expect("the configuration");
        folder.give_to_server(folder.path());
        let log = OpenOptions::new().append(true).create(true).open(folder.log_file()).expect("a log file");
        let mut command = folder.server_command(program());
        command.arg(file).stdout(log.try_clone().expect("the log, for stdout")).stderr(log);
        let child = spawn_dependent(command).expect("pgbouncer starts");
        let mut pooler = PgBouncer { child, folder };
        pooler.wait_until_ready();
        pooler
    }
}

impl PgBouncer {
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while UnixStream::connect(self.host().join(format!(".s.PGSQL.{PORT}"))).is_err() {
            let ended = self.child.try_wait().expect("the state of our child");
            assert!(ended.is_none() && Instant::now() < deadline, "pgbouncer is not ready: {ended:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The folder of its Unix socket.
    pub fn host(&self) -> &Path {
        self.folder.path()
    }

    /// Its port, part of the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// How to reach a database through the pool.
    pub fn config(&self, db: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host_path(self.host()).port(PORT).user("anybody").dbname(db);
        config
    }

    /// A session in a database, through the pool.
    pub fn connect(&self, db: &str) -> postgres::Client {
        let client = self.config(db).connect(postgres::NoTls);
        client.unwrap_or_else(|error| panic!("cannot connect to {db}: {error:?}\n{}", self.log()))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.folder.log_from(0)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's is outside of an ordinary user's PATH.
fn program() -> &'static Path {
    let path = Path::new("/usr/sbin/pgbouncer");
    if path.exists() { path } else { Path::new("pgbouncer") }
}
