//! PgBouncer in front of a cluster.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::options::free_port;
use super::server::spawn_dependent;
use super::{Cluster, HOST};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running PgBouncer. It stops when this is dropped.
pub struct PgBouncer {
    child: Child,
    folder: Folder,
    port: u16,
}

impl Cluster {
    /// A PgBouncer whose every database is that of this cluster; it lets everybody in without a password. `settings` are
    /// lines of the section `[pgbouncer]` in its configuration.
    pub fn pgbouncer(&self, settings: &str) -> PgBouncer {
        PgBouncer::start(self, settings)
    }
}

impl PgBouncer {
    fn start(cluster: &Cluster, settings: &str) -> Self {
        let folder = Folder::new();
        let port = free_port();
        let users = folder.path().join("users");
        fs::write(&users, "\"app\" \"\"\n\"other\" \"\"\n").expect("the list of users");
        let mut configuration = String::new();
        writeln!(
            configuration,
            "[databases]\n* = host={HOST} port={}\n[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\nlogfile = {}\n{settings}",
            cluster.port,
            users.display(),
            folder.log_file().display(),
        )
        .expect("writing to a string");
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, configuration).expect("the configuration");
        folder.give_to_server(folder.path());
        let child = spawn_dependent({
            let mut command = folder.server_command(program());
            let output =
                OpenOptions::new().append(true).create(true).open(folder.path().join("output")).expect("a file");
            command.arg(file).stdout(output.try_clone().expect("the file, for stdout")).stderr(output);
            command
        })
        .expect("pgbouncer starts");
        let mut this = Self { child, folder, port };
        this.wait_until_ready();
        this
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((HOST, self.port)).is_err() {
            let ended = self.child.try_wait().expect("the state of our child");
            assert!(ended.is_none() && Instant::now() < deadline, "pgbouncer is not ready: {ended:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How to reach it as `user`.
    pub fn config(&self, user: &str, db: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host(HOST).port(self.port).user(user).dbname(db);
        config
    }

    /// A session of `user` in `db`, through the pool.
    pub fn connect(&self, user: &str, db: &str) -> postgres::Client {
        self.config(user, db)
            .connect(postgres::NoTls)
            .unwrap_or_else(|error| panic!("cannot connect to {db} as {user}: {error:?}\n{}", self.log()))
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
