//! Where a login cannot be OAuth: all log in as one role, and hand over the token in each transaction.

use std::env;
use std::path::Path;
use std::process::Command;

use pg_test::{Cluster, clients};
use postgres::NoTls;

use crate::app::{CLUSTER, converse, expired_token, token};

#[path = "../../clients/tokio.rs"]
mod tokio_snippet;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

const REJECTED: &str = "JWT rejected: token expired";

/// Where to connect: a host name or the folder of a Unix socket, and a port.
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    fn of(cluster: &Cluster) -> Self {
        Self { host: cluster.host().to_owned(), port: cluster.port() }
    }
}

/// A client for many users on one connection. It is given tokens and says what
/// each one's user sees, then what is seen without a token: JSON lists or errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Psycopg,
    Node,
    Tokio,
}

impl Driver {
    pub fn notes(self, server: &Address, tokens: &[&str]) -> Vec<String> {
        match self {
            Self::Psycopg => {
                let python = clients::installed().join("venv/bin/python");
                lines(Command::new(python).arg(format!("{FOLDER}/psycopg_notes.py")), server, tokens)
            }
            Self::Node => {
                let folder = clients::node_folder(&[("node.mjs", include_str!("../../clients/node.mjs"))]);
                lines(Command::new("node").arg(folder.path().join("node.mjs")), server, tokens)
            }
            Self::Tokio => tokio(server, tokens),
        }
    }
}

fn lines(command: &mut Command, server: &Address, tokens: &[&str]) -> Vec<String> {
    let (output, errors) = converse(as_web(command, server), tokens);
    assert_eq!(errors, "");
    output.lines().map(str::to_owned).collect()
}

fn tokio(server: &Address, tokens: &[&str]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = format!("host={} port={} user=web dbname=postgres", server.host, server.port);
        let (mut client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let bodies = |rows: Vec<tokio_postgres::Row>| {
            let bodies: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            serde_json::to_string(&bodies).expect("JSON")
        };
        let mut seen = Vec::new();
        for token in tokens {
            seen.push(match tokio_snippet::notes(&mut client, token).await {
                Ok(rows) => bodies(rows),
                Err(error) => {
                    let error = error.as_db_error().expect("an error of the server");
                    format!("{} {}", error.code().code(), error.message())
                }
            });
        }
        seen.push(bodies(client.query("SELECT body FROM note", &[]).await.expect("SELECT")));
        seen
    })
}

/// What psql prints with the token of a user: rows, or an error.
pub fn psql(script: &str, server: &Address, token: &str) -> Result<String, String> {
    let program = CLUSTER.psql().get_program().to_owned();
    let mut path = vec![Path::new(&program).parent().expect("a folder").to_owned()];
    path.extend(env::split_paths(&env::var_os("PATH").expect("PATH")));
    let mut command = Command::new(format!("{FOLDER}/{script}"));
    command.env("PATH", env::join_paths(path).expect("a PATH")).env("TOKEN", token);
    let (output, errors) = converse(as_web(&mut command, server), &[]);
    if errors.is_empty() { Ok(output) } else { Err(errors) }
}

/// The scripts that this server's psql can run.
pub fn psql_scripts() -> &'static [&'static str] {
    // \getenv came with 15, \bind with 16.
    match CLUSTER.major_version() {
        ..15 => &[],
        15 => &["psql-15.sh"],
        16.. => &["psql-15.sh", "psql.sh"],
    }
}

fn as_web<'c>(command: &'c mut Command, server: &Address) -> &'c mut Command {
    command
        .env("PGHOST", &server.host)
        .env("PGPORT", server.port.to_string())
        .env("PGUSER", "web")
        .env("PGDATABASE", "postgres")
        .env("PSQLRC", "/dev/null")
}

#[track_caller]
pub fn assert_not_logged(log: &str, tokens: &[&str]) {
    for token in tokens {
        for part in token.split('.') {
            let part = &part[..part.len().min(24)];
            let leak = log.lines().find(|line| line.contains(part));
            assert_eq!(leak, None);
        }
    }
}

#[track_caller]
fn each_user_sees_own_notes(driver: Driver) {
    let mark = CLUSTER.log_mark();
    let (alice, bob, expired) = (token("alice"), token("bob"), expired_token("alice"));
    let tokens = [&*alice, &bob, &expired, &bob, "no.to.ken", &alice];
    let (from_alice, from_bob) = (r#"["from alice"]"#, r#"["from bob"]"#);
    let (expired_error, malformed) = (format!("28000 {REJECTED}"), "22023 JWT rejected: not base64url");
    let seen = driver.notes(&Address::of(&CLUSTER), &tokens);
    assert_eq!(seen, [from_alice, from_bob, &expired_error, from_bob, malformed, from_alice, "[]"]);
    // Others may use their own tokens meanwhile; these are of this test alone.
    let log = CLUSTER.log_since(mark);
    assert!(log.contains("auth.jwt_session_init($1, true)"), "{log}");
    assert_not_logged(&log, &[&alice, &bob, &expired]);
}

#[test]
fn users_of_psycopg_see_own_notes_only() {
    each_user_sees_own_notes(Driver::Psycopg);
}

#[test]
fn users_of_node_postgres_see_own_notes_only() {
    each_user_sees_own_notes(Driver::Node);
}

#[test]
fn users_of_tokio_postgres_see_own_notes_only() {
    each_user_sees_own_notes(Driver::Tokio);
}

#[test]
#[cfg_attr(before_pg15, ignore = "psql reads the environment since PostgreSQL 15")]
fn psql_takes_the_token_from_the_environment() {
    for script in psql_scripts() {
        let mark = CLUSTER.log_mark();
        let (alice, expired) = (token("alice"), expired_token("alice"));
        assert_eq!(psql(script, &Address::of(&CLUSTER), &alice), Ok("from alice\n".to_owned()), "{script}");
        let error = psql(script, &Address::of(&CLUSTER), &expired).expect_err("an expired token");
        assert!(error.contains(REJECTED), "{script}: {error}");
        // A token is data, whatever it holds.
        let injected = "x', true); SELECT 'injected' --";
        let error = psql(script, &Address::of(&CLUSTER), injected).expect_err("no token");
        assert!(error.contains("JWT rejected: ") && !error.contains(injected), "{script}: {error}");
        let log = CLUSTER.log_since(mark);
        assert!(log.contains("jwt_session_init("), "{log}");
        assert_not_logged(&log, &[&alice, &expired]);
    }
}
