//! The token as the password, with every driver: it is the identity at once, and what the session returns to.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use pg_test::offline::{ISSUER, KEY};
use pg_test::process::run;
use pg_test::{Cluster, claims_with, clients, jwks, tls};
use serde_json::json;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.issuer", ISSUER)
        .setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
        .setting("pg_jwks.audience", "app")
        .with_pam_services()
        .start();
    tls::encrypt(&cluster);
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks; CREATE ROLE alice LOGIN").expect("a role");
    let lines = format!("auth required {{module}} issuer={ISSUER}\naccount required {{module}}\n");
    cluster.write_pam_service("pg_jwks", &lines);
    let hba = "local all postgres trust\nlocal all all pam pamservice=pg_jwks\nhostssl all alice all pam pamservice=pg_jwks\n";
    cluster.write_file("pg_hba.conf", hba);
    cluster.restart();
    cluster
});

/// Of an ordinary user, of one in many groups, and almost as large as PostgreSQL takes a password.
fn tokens() -> [String; 3] {
    [900, 8_700, 44_800].map(|size| KEY.sign(&claims_with(ISSUER, "alice", &json!({ "groups": "g".repeat(size) }))))
}

/// Runs a client, which knows where the server is from its environment, once for each token.
#[track_caller]
fn assert_logs_in(command: impl Fn() -> Command) {
    for (token, size) in tokens().iter().zip([1_000..2_000, 11_500..13_000, 59_000..61_000]) {
        assert!(size.contains(&token.len()), "{} bytes", token.len());
        let mut command = command();
        command
            .env("PGHOST", CLUSTER.host())
            .env("PGPORT", CLUSTER.port().to_string())
            .env("PGUSER", "alice")
            .env("PGDATABASE", "postgres")
            .env("PGSSLROOTCERT", CLUSTER.data_dir().join("root.crt"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the client starts");
        // A client that has its token from elsewhere does not read it.
        let _ = writeln!(child.stdin.take().expect("a pipe"), "{token}");
        let output = child.wait_with_output().expect("the client ends");
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(lines.iter().all(|line| line.starts_with("alice ") && *line == lines[0]), "{said}");
        // Nothing of the claims is lost on the way.
        let length: usize = lines[0]["alice ".len()..].parse().expect("a length");
        assert!(length > token.len() * 7 / 10 - 200, "{length} of {}", token.len());
    }
}

fn python(driver: &str) -> Command {
    let mut command = Command::new(clients::installed().join("venv/bin/python"));
    command.arg(format!("{FOLDER}/password.py")).arg(driver);
    command
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn psql_logs_in() {
    let program = CLUSTER.psql().get_program().to_owned();
    assert_logs_in(|| {
        let mut command = Command::new("sh");
        let who = "SELECT auth.user_id() || ' ' || length(auth.jwt()::text)";
        let script = "read -r TOKEN; PGPASSWORD=$TOKEN PGSSLMODE=verify-full \"$0\" -XqAtc \"$1\" -c 'RESET ALL' -c \"$1\" \
            -c 'DISCARD ALL' -c \"$1\"";
        command.args(["-c", script]).arg(&program).arg(who);
        command
    });
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn psycopg_3_logs_in() {
    assert_logs_in(|| python("psycopg3"));
    assert_logs_in(|| python("psycopg_pool"));
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn psycopg_2_logs_in() {
    assert_logs_in(|| python("psycopg2"));
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn asyncpg_logs_in() {
    assert_logs_in(|| python("asyncpg"));
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn node_postgres_logs_in() {
    let folder = clients::node_folder(&[("password.mjs", include_str!("../../clients/password.mjs"))]);
    assert_logs_in(|| {
        let mut command = Command::new("node");
        command.arg(folder.path().join("password.mjs"));
        command
    });
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn jdbc_logs_in() {
    clients::installed();
    let driver = Path::new("/usr/share/java/postgresql.jar");
    assert!(driver.exists(), "{} is missing", driver.display());
    let classes = tempfile::tempdir().expect("a folder");
    let source = format!("{FOLDER}/Password.java");
    run(Command::new("javac").arg("-cp").arg(driver).arg("-d").arg(classes.path()).arg(source));
    assert_logs_in(|| {
        let mut command = Command::new("java");
        command.arg("-cp").arg(format!("{}:{}", driver.display(), classes.path().display())).arg("Password");
        command
    });
}

/// Over the socket of the machine, without TLS.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn tokio_postgres_logs_in() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for token in tokens() {
        runtime.block_on(async {
            let mut config = tokio_postgres::Config::new();
            config
                .host_path(CLUSTER.socket_dir())
                .port(CLUSTER.port())
                .user("alice")
                .dbname("postgres")
                .password(&token);
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a login");
            tokio::spawn(connection);
            for statement in ["SELECT 1", "RESET ALL", "DISCARD ALL"] {
                client.batch_execute(statement).await.expect(statement);
                let row = client.query_one("SELECT auth.user_id(), auth.claim('groups')", &[]).await.expect("a row");
                assert_eq!(row.get::<_, &str>(0), "alice");
                assert!(row.get::<_, &str>(1).len() > token.len() * 7 / 10 - 200);
            }
        });
    }
}
