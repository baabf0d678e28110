//! `rls_examples/self_signed_api`, installed as its README says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use pg_test::cluster::free_port;
use pg_test::node::node;
use pg_test::process::{run, signal};
use pg_test::{Cluster, now};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Response, try_request};

pub const ALICE: &str = "alice@acme.example";
pub const BOB: &str = "bob@globex.example";
const TEMPLATE: &str = "service";

pub static EXAMPLE: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../rls_examples/self_signed_api"));

/// The server, with the schema and the tenants in the database that those of the tests are copies of.
pub struct Server {
    pub cluster: Cluster,
    alice: String,
    bob: String,
}

pub static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let cluster = Cluster::options().setting("shared_preload_libraries", "pg_jwks").start();
    cluster.client().batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).expect("CREATE DATABASE");
    for script in ["sql/schema.sql", "sql/seed.sql"] {
        cluster.run_sql_file("postgres", TEMPLATE, EXAMPLE.join(script)).expect(script);
    }
    let set_password = |email| {
        let mut command = node(&EXAMPLE);
        let output = command.args(["dist/set_password.js", email]).output().expect("set_password");
        let statement = cluster.write_file("set_password.sql", &String::from_utf8_lossy(&output.stdout));
        cluster.run_sql_file("postgres", TEMPLATE, statement).expect("a password");
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    };
    let (alice, bob) = (set_password(ALICE), set_password(BOB));
    Server { cluster, alice, bob }
});

/// A connection string.
pub fn url(cluster: &Cluster, role: &str, db: &str) -> String {
    format!("postgres://{role}@{}:{}/{db}", cluster.host(), cluster.port())
}

/// What a program prints when it refuses its work.
pub fn refusal_of(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("a program that runs");
    assert_eq!(status.code(), Some(1), "{command:?}");
    String::from_utf8(stderr).expect("text")
}

/// A private key in this folder; returns the key's path.
pub fn generate_key(folder: &Path) -> PathBuf {
    let mut command = node(&EXAMPLE);
    let said = run(command.arg("dist/generate_key.js").env("KEYS_FOLDER", folder));
    said.trim().strip_prefix("Made ").expect("the path of a new key").into()
}

/// A running service, with a key and a database of its own.
pub struct Service {
    child: Child,
    pub port: u16,
    pub db: String,
    pub keys: TempDir,
}

impl Service {
    /// Starts it with these variables, on a database of this name.
    pub fn start(db: &str, variables: &[(&str, &str)]) -> Self {
        let server = &*SERVER;
        let mut admin = server.cluster.client();
        admin.batch_execute(&format!("CREATE DATABASE {db} TEMPLATE {TEMPLATE}")).expect("CREATE DATABASE");
        let keys = tempfile::tempdir().expect("a temporary folder");
        generate_key(keys.path());
        let port = free_port();
        let mut trust = server.cluster.psql();
        trust.args(["--set=ON_ERROR_STOP=1", "--dbname", db, "--file"]).arg(EXAMPLE.join("sql/trust.sql"));
        run(trust.arg(format!("--set=url=http://127.0.0.1:{port}")));

        let mut command = node(&EXAMPLE);
        command
            .arg("dist/server.js")
            .env("DATABASE_URL", url(&server.cluster, "api", db))
            .env("KEYS_FOLDER", keys.path())
            .env("PORT", port.to_string())
            .envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the service");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        assert_eq!(line.trim(), format!("Listening on http://127.0.0.1:{port} as process {}", child.id()));
        Self { child, port, db: db.to_owned(), keys }
    }

    pub fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
        try_request(self.port, line, headers, body).expect("the service listens")
    }

    pub fn get(&self, path: &str, token: &str) -> Response {
        self.request(&format!("GET {path}"), &[("Authorization", &format!("Bearer {token}"))], "")
    }

    pub fn log_in(&self, email: &str, password: &str) -> Response {
        let body = json!({ "email": email, "password": password }).to_string();
        self.request("POST /api/token", &[("Content-Type", "application/json")], &body)
    }

    /// A token of [`ALICE`] or [`BOB`].
    pub fn token(&self, email: &str) -> String {
        let password = if email == ALICE { &SERVER.alice } else { &SERVER.bob };
        let response = self.log_in(email, password);
        assert_eq!(response.status, 200, "{}", response.body);
        response.body["access_token"].as_str().expect("a token").to_owned()
    }

    pub fn jwks(&self) -> Value {
        self.request("GET /.well-known/jwks.json", &[], "").body
    }

    /// Makes it read its keys again, and waits until it publishes this many.
    pub fn reload_keys(&self, expected: usize) {
        signal(self.child.id().cast_signed(), libc::SIGHUP);
        let deadline = now() + 30;
        while self.jwks()["keys"].as_array().map(Vec::len) != Some(expected) {
            assert!(now() < deadline, "the keys are {}", self.jwks());
        }
    }

    /// The only private key.
    pub fn key_file(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.keys.path()).expect("the keys");
        entries.next().expect("a key").expect("an entry").path()
    }

    /// Changes a setting of its database, for its next connections.
    pub fn set(&self, setting: &str, value: &str) {
        let statement = format!("ALTER DATABASE {} SET {setting} = '{value}'", self.db);
        let mut superuser = self.superuser();
        superuser.batch_execute(&statement).expect("a setting");
        let end = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
                    WHERE datname = current_database() AND usename = 'api'";
        let ended = superuser.query(end, &[]).expect("pg_terminate_backend");
        assert!(ended.iter().all(|row| row.get(0)), "{statement}");
    }

    pub fn superuser(&self) -> postgres::Client {
        SERVER.cluster.connect("postgres", &self.db)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail only where the child has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
