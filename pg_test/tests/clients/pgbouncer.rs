//! PgBouncer in front: it cannot pass OAuth on, and need not.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::{Cluster, Credentials, RawClient, clients, jwks};
use postgres::NoTls;
use postgres::error::DbError;
use tempfile::TempDir;

use crate::app::{CLUSTER, ISS, KEY, token};
use crate::drivers::{Address, Driver, assert_not_logged, psql, psql_scripts};

/// A pooler with one connection to a server; it stops when dropped, or when this process ends.
pub struct PgBouncer {
    child: Child,
    address: Address,
    folder: TempDir,
}

impl PgBouncer {
    /// Pools transactions of whoever comes; it logs in to the server as `user`.
    pub fn start(cluster: &Cluster, user: &str) -> Self {
        // It brings the program where there is none.
        clients::installed();
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A socket in a folder of its own: nobody else can take that address.
        let host = folder.path().to_str().expect("UTF-8").to_owned();
        let address = Address { host, port: 6432 };
        let configuration = format!(
            "[databases]
            * = host={server_host} port={server_port} user={user} pool_size=1
            [pgbouncer]
            listen_port = {port}
            unix_socket_dir = {host}
            auth_type = any
            pool_mode = transaction
            server_login_retry = 1
            verbose = 3\n",
            server_host = cluster.host(),
            server_port = cluster.port(),
            host = address.host,
            port = address.port,
        );
        let ini = folder.path().join("pgbouncer.ini");
        fs::write(&ini, configuration.replace("            ", "")).expect("a file");
        // It refuses to be root.
        let script = r#"PATH=$PATH:/usr/sbin
            if [ "$(id -u)" = 0 ]; then chown postgres "${1%/*}"; set -- -u postgres "$1"; fi
            pgbouncer "$@" & cat; kill $!; wait"#;
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&ini)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .expect("sh starts");
        let pooler = Self { child, address, folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(pooler.folder.path().join(".s.PGSQL.6432")).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer does not start: {}", pooler.log());
            sleep(Duration::from_millis(20));
        }
        pooler
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Fails only where it has ended already.
        let _ = self.child.wait();
    }
}

#[test]
fn users_who_share_one_pooled_connection_see_own_notes_only() {
    let pooler = PgBouncer::start(&CLUSTER, "web");
    let (alice, bob) = (token("alice"), token("bob"));
    for driver in [Driver::Psycopg, Driver::Node, Driver::Tokio] {
        let seen = driver.notes(&pooler.address, &[&alice, &bob, "no.to.ken", &alice]);
        let error = "22023 JWT rejected: not base64url";
        assert_eq!(seen, [r#"["from alice"]"#, r#"["from bob"]"#, error, r#"["from alice"]"#, "[]"], "{driver:?}");
    }
    for script in psql_scripts() {
        for user in ["alice", "bob"] {
            assert_eq!(psql(script, &pooler.address, &token(user)), Ok(format!("from {user}\n")), "{script}");
        }
        psql(script, &pooler.address, "no.to.ken").expect_err("no token");
    }
    assert_not_logged(&pooler.log(), &[&alice, &bob]);
}

#[test]
fn it_cannot_log_in_to_a_server_that_wants_a_token() {
    if CLUSTER.major_version() < 18 {
        return;
    }
    let server = Cluster::options()
        .setting("oauth_validator_libraries", "pg_jwks")
        .setting("pg_jwks.issuer", ISS)
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
        .start();
    server.client().batch_execute("CREATE ROLE alice LOGIN").expect("CREATE ROLE");
    let line = format!("host all all 127.0.0.1/32 oauth issuer=\"{}\" scope=\"\"\n", ISS);
    server.write_file("pg_hba.conf", &line);
    server.restart();
    let alice = token("alice");
    RawClient::connect(&server, "alice", "postgres", Credentials::Bearer(&alice)).expect("a login without a pooler");
    let pooler = PgBouncer::start(&server, "alice");
    let error = postgres::Config::new()
        .host(&pooler.address.host)
        .port(pooler.address.port)
        .user("alice")
        .dbname("postgres")
        .connect(NoTls)
        .err()
        .expect("PgBouncer has no token");
    let message = error.as_db_error().map(DbError::message);
    let expected = "server login failed: none of the server's SASL authentication mechanisms are supported";
    assert_eq!(message, Some(expected), "{error:?}\n{}", pooler.log());
}
