//! How a cluster is to be, and its first start.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::hash::BuildHasher;
use std::io::Write as _;
use std::net::TcpListener;

use super::etc;
use super::folder::Folder;
use super::install::{Install, Stage};
use super::running::{Cluster, HOST};
use crate::process::run;

/// Settings of a cluster that is about to start.
#[derive(Clone, Debug)]
pub struct Options {
    settings: Vec<(String, String)>,
    extension: bool,
    pam_services: bool,
    hosts: Option<String>,
    environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { settings: Vec::new(), extension: true, pam_services: false, hosts: None, environment: Vec::new() }
    }
}

impl Cluster {
    /// A server with default settings. The extension can be created in it, but
    /// is not preloaded.
    pub fn start() -> Self {
        Self::options().start()
    }

    /// A server with settings of its own.
    pub fn options() -> Options {
        Options::default()
    }

    /// A streaming replica of this server, with the same settings.
    pub fn replica(&self) -> Self {
        Self::options().start_replica(self)
    }
}

impl Options {
    /// A line of postgresql.conf; of several with one name the last holds.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Room for the sessions and the parallel workers of many tests, and nothing that runs by itself.
    #[must_use]
    pub fn for_many_tests(self) -> Self {
        self.setting("max_worker_processes", "64")
            .setting("max_parallel_workers", "64")
            .setting("max_connections", "150")
            .setting("autovacuum", "off")
    }

    /// A plain PostgreSQL, which needs no built extension.
    #[must_use]
    pub fn without_extension(mut self) -> Self {
        self.extension = false;
        self
    }

    /// Gives the server PAM services of its own: see [`Cluster::write_pam_service`]. Only root can start it.
    #[must_use]
    pub fn with_pam_services(mut self) -> Self {
        self.pam_services = true;
        self
    }

    /// Gives the server names of hosts of its own, in the form of `/etc/hosts`. Only root can start it.
    #[must_use]
    pub fn with_hosts(mut self, lines: &str) -> Self {
        self.hosts = Some(lines.to_owned());
        self
    }

    /// A variable of the server's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// PAM services where they are possible.
    #[must_use]
    pub fn with_pam_services_if_possible(self) -> Self {
        match cfg!(without_pam) {
            true => self,
            false => self.with_pam_services(),
        }
    }

    /// Creates the cluster and waits until it accepts connections.
    pub fn start(self) -> Cluster {
        let (folder, install) = self.installed();
        run(folder
            .server_command(install.server_program("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres"])
            .arg("--pgdata")
            .arg(folder.data_dir()));
        self.start_in(folder, install)
    }

    /// Copies a running cluster, with its settings, and starts the copy as its
    /// streaming replica.
    fn start_replica(self, primary: &Cluster) -> Cluster {
        let (folder, install) = self.installed();
        run(folder
            .server_command(install.client_program("pg_basebackup"))
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username=postgres"])
            .args(["--host", HOST, "--port", &primary.port().to_string()])
            .arg("--pgdata")
            .arg(folder.data_dir()));
        self.start_in(folder, install)
    }

    fn installed(&self) -> (Folder, Install) {
        let stage = self.extension.then(Stage::from_environment);
        let mut folder = Folder::new();
        folder.set_environment(self.environment.clone());
        let install = Install::new(folder.path(), stage.as_ref());
        if self.pam_services {
            etc::make_pam_services(folder.path());
        }
        if let Some(hosts) = &self.hosts {
            etc::write_hosts(folder.path(), hosts);
        }
        folder.give_to_server(folder.path());
        (folder, install)
    }

    fn start_in(self, folder: Folder, install: Install) -> Cluster {
        let mut cluster = Cluster::stopped(folder, install);
        let mut attempts = 5;
        loop {
            cluster.set_port(free_port());
            self.write_settings(&cluster);
            match cluster.launch() {
                Ok(()) => return cluster,
                // Another process took the port between our look and the server's.
                Err(_) if attempts > 0 && cluster.log().contains("could not create any TCP/IP sockets") => {
                    attempts -= 1;
                }
                // The log follows when the cluster is dropped.
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn write_settings(&self, cluster: &Cluster) {
        let base = [
            ("listen_addresses", HOST),
            ("port", &cluster.port().to_string()),
            ("unix_socket_directories", &cluster.socket_dir().to_string_lossy()),
            ("fsync", "off"),
            ("log_line_prefix", "%m [%p] %q%u@%d "),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut lines = String::new();
        for (name, value) in base.iter().chain(&self.settings) {
            let value = value.replace('\\', "\\\\").replace('\'', "''");
            writeln!(lines, "{name} = '{value}'").expect("writing to a string");
        }
        let path = cluster.data_dir().join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("postgresql.conf");
        file.write_all(lines.as_bytes()).expect("settings written");
    }
}

/// A port that nobody listens on. It is below the range that outgoing
/// connections take theirs from, so that it is still free at a restart.
pub fn free_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one("port");
        let port = 10_000 + u16::try_from(random % 20_000).expect("less than 20000");
        if TcpListener::bind((HOST, port)).is_ok() {
            return port;
        }
    }
}
