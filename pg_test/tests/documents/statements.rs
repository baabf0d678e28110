//! The statements of the documents, word for word, in the order in which a reader comes upon them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::documents::{Page, repository};
use pg_test::tls::encrypt;
use pg_test::{Alg, Cluster, Credentials, RawClient, SigningKey, claims, jwks, pg_error};
use postgres::Client;
use serde_json::{Value, json};

/// The issuer and the audience of the documents.
const ISSUER: &str = "https://login.example.com/";
const AUDIENCE: &str = "my-app";

const TENANT: &str = "11111111-1111-1111-1111-111111111111";

#[track_caller]
fn blocks(page: &str, heading: &str, language: &str) -> Vec<String> {
    Page::of_repository(page).blocks(heading, language)
}

/// A server as it comes, with the database of the application.
fn server() -> Cluster {
    let cluster = Cluster::start();
    cluster.create_database("app", "UTF8");
    cluster
}

/// Runs a script as an administrator with psql, in a new session.
#[track_caller]
fn run(cluster: &Cluster, sql: &str) {
    run_as("postgres", cluster, sql);
}

/// Runs a script as another role.
#[track_caller]
fn run_as(role: &str, cluster: &Cluster, sql: &str) {
    let path = cluster.write_file("documents.sql", sql);
    if let Err(output) = cluster.run_sql_file(role, "app", path) {
        panic!("{sql}\n{output}");
    }
}

/// Nobody serves the documents' issuer, so the server has its keys as a setting.
fn publish(cluster: &Cluster, key: &SigningKey) {
    let keys = jwks(&[key]);
    run(cluster, &format!("LOAD 'pg_jwks'; ALTER SYSTEM SET pg_jwks.jwks = '{keys}'; SELECT pg_reload_conf();"));
}

/// A token of the documents' issuer.
fn token(key: &SigningKey, sub: &str, more: &[(&str, Value)]) -> String {
    let mut claims = claims(ISSUER, sub);
    claims["aud"] = json!(AUDIENCE);
    for (name, value) in more {
        claims[*name] = value.clone();
    }
    key.sign(&claims)
}

/// Runs each statement, with the token for its parameter; how many rows the last one returned.
fn execute(client: &mut Client, statements: &str, token: &str) -> Result<usize, postgres::Error> {
    let mut rows = 0;
    let lines = statements.lines().map(|line| line.split("--").next().unwrap_or_default().trim());
    for statement in lines.filter(|line| !line.is_empty()) {
        let parameters: &[&(dyn postgres::types::ToSql + Sync)] =
            if statement.contains("$1") { &[&token] } else { &[] };
        rows = client.query(statement, parameters)?.len();
    }
    Ok(rows)
}

/// Waits until a new session has this setting, which a reload brings a moment later.
fn reloaded(cluster: &Cluster, setting: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let set = |client: &mut Client| {
        let query = "SELECT coalesce(current_setting($1, true), '')";
        !client.query_one(query, &[&setting]).expect("a setting").get::<_, String>(0).is_empty()
    };
    while !set(&mut cluster.connect("postgres", "app")) {
        assert!(Instant::now() < deadline, "{setting} did not come");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_start_the_tenants_and_the_roles_work_and_can_be_removed() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "documents");
    let [settings, schema, queries] = &blocks("README.md", "Start in 60 seconds, on your own server", "sql")[..] else {
        panic!("three blocks");
    };
    run(&cluster, settings);
    reloaded(&cluster, "session_preload_libraries");
    publish(&cluster, &key);
    reloaded(&cluster, "pg_jwks.jwks");
    run(&cluster, "CREATE ROLE proprietor LOGIN; ALTER DATABASE app OWNER TO proprietor;");
    run_as("proprietor", &cluster, schema);

    let mut app = cluster.connect("app", "app");
    for user in ["alice", "bob"] {
        assert_eq!(execute(&mut app, queries, &token(&key, user, &[])).expect("the user's rows"), 0);
        app.batch_execute("INSERT INTO note (body) VALUES ('mine')").expect("a row of the user's own");
    }
    assert_eq!(execute(&mut app, queries, &token(&key, "alice", &[])).expect("the user's rows"), 1);
    let planted = app.batch_execute("INSERT INTO note VALUES ('bob', 'planted')").expect_err("for somebody else");
    assert_eq!(pg_error(&planted).sqlstate, "42501");
    let other = SigningKey::generate(Alg::Es256, "documents");
    let forged = execute(&mut app, queries, &token(&other, "alice", &[])).expect_err("a forged token");
    assert_eq!(pg_error(&forged).sqlstate, "28000");
    let explain = &blocks("docs/operating.md", "Why a token is refused", "sql")[0];
    assert_eq!(execute(&mut app, explain, &token(&other, "alice", &[])).expect("its checks"), 14);

    tenants(&cluster, &key, queries.lines().next().expect("the token"));
    roles(&cluster, &key, queries.lines().next().expect("the token"));
    settings_of_other_pages(&cluster, &key);

    run(&cluster, &blocks("docs/operating.md", "Removing", "sql")[0]);
    let settings = std::fs::read_to_string(cluster.data_dir().join("postgresql.auto.conf")).expect("settings");
    for name in ["session_preload_libraries", "pg_jwks.issuer", "pg_jwks.audience"] {
        assert!(!settings.contains(name), "{settings}");
    }
    let left = cluster.connect("app", "app").query("SELECT * FROM note", &[]).expect("still under RLS");
    assert!(left.is_empty(), "rows are shown without their policies");
}

/// Runs these commands as the superuser `postgres` of a server, in the repository; the error is what they said.
fn run_commands(cluster: &Cluster, folder: &Path, commands: &str) -> Result<String, String> {
    let output = cluster
        .shell(&commands.replace("sudo -u postgres ", ""))
        .current_dir(repository())
        .env("PGUSER", "postgres")
        .env("FIRST_TOKEN_FOLDER", folder)
        .output()
        .expect("a shell");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(said(&output.stderr)),
    }
}

#[test]
fn four_commands_show_rows_without_an_identity_provider() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("first_token");
    let [commands] = &blocks("README.md", "Without an identity provider at hand", "sh")[..] else {
        panic!("one block")
    };
    let said = run_commands(&cluster, &folder, commands).expect("the commands");
    let rows = said.rsplit("jwt_session_init").next().expect("what the last command said");
    assert!(rows.contains("(2 rows)") && rows.contains("water the plants") && !rows.contains("call Alice"), "{said}");
    // The key stays, so a token of another user is of the same issuer.
    let of_bob = "psql -d first_token -tA -v token=\"$(sh rls_examples/first_token.sh bob)\" <<'SQL'
SELECT auth.jwt_session_init(:'token') IS NULL, auth.user_id();
SQL";
    assert_eq!(run_commands(&cluster, &folder, of_bob).expect("a token").trim(), "f|bob");
    let key = std::fs::metadata(folder.join("key.pem")).expect("the key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    for bad in
        ["sh rls_examples/first_token.sh", "sh rls_examples/first_token.sh 'a\"b'", "sh rls_examples/first_token.sh ''"]
    {
        assert!(run_commands(&cluster, &folder, bad).is_err_and(|said| said.contains("first_token.sh alice")), "{bad}");
    }
}

fn tenants(cluster: &Cluster, key: &SigningKey, init: &str) {
    run(cluster, &blocks("docs/tenants.md", "A table of memberships", "sql").concat());
    let seed =
        format!("INSERT INTO users VALUES ('{TENANT}', '{TENANT}'); INSERT INTO invoice VALUES ('{TENANT}', '1')");
    run(cluster, &seed);
    let mut app = cluster.connect("app", "app");
    let invoices = format!("{init}\nSELECT * FROM invoice");
    assert_eq!(execute(&mut app, &invoices, &token(key, TENANT, &[])).expect("the tenant's rows"), 1);
    assert_eq!(execute(&mut app, &invoices, &token(key, "alice", &[])).expect("no tenant"), 0);
    let choices = format!("{init}\n{}", blocks("docs/tenants.md", "Users in several tenants", "sql").concat());
    execute(&mut app, &choices, &token(key, TENANT, &[])).expect("a tenant of the user");
    let error = execute(&mut app, &choices, &token(key, "alice", &[])).expect_err("not a tenant of the user");
    assert_eq!(pg_error(&error).sqlstate, "42501");
    run(cluster, &blocks("docs/tenants.md", "Isolating a table", "sql").concat());
    assert_eq!(execute(&mut app, &invoices, &token(key, TENANT, &[])).expect("as before"), 1);
}

fn roles(cluster: &Cluster, key: &SigningKey, init: &str) {
    run(cluster, &blocks("docs/roles.md", "The token's role as the database role", "sql")[0]);
    let mut app = cluster.connect("app", "app");
    let role = format!("{init}\nSELECT 1 WHERE current_user = 'app_writer'");
    let writer = token(key, "alice", &[("role", json!("writer"))]);
    assert_eq!(execute(&mut app, &role, &writer).expect("a role of the map"), 1);
    let nobody = execute(&mut app, &role, &token(key, "alice", &[])).expect_err("no role");
    assert_eq!(pg_error(&nobody).sqlstate, "28000");
}

fn settings_of_other_pages(cluster: &Cluster, key: &SigningKey) {
    run(cluster, &blocks("docs/poolers.md", "Transaction pooling", "sql")[0]);
    let error = cluster.connect("app", "app").query("SELECT auth.jwt_session_init($1)", &[&token(key, "alice", &[])]);
    assert_eq!(pg_error(&error.expect_err("an identity for the session")).sqlstate, "55000");
    let providers = &blocks("docs/reference.md", "Several issuers", "sql")[0];
    run(cluster, &providers.replace("ALTER SYSTEM SET", "SET"));
    for (page, heading, setting) in [
        ("docs/roles.md", "Policies that read session variables", "pg_jwks.claim_settings"),
        ("docs/keys.md", "Preloading", "shared_preload_libraries"),
    ] {
        run(cluster, &blocks(page, heading, "sql")[0]);
        run(cluster, &format!("ALTER SYSTEM RESET {setting}"));
    }
}

#[test]
#[cfg_attr(not(before_pg18), ignore = "PostgreSQL has OAuth logins from version 18 on")]
fn the_login_is_refused_before_postgresql_18() {
    let cluster = server();
    run(&cluster, "CREATE EXTENSION pg_jwks");
    let path = cluster.write_file("login.sql", &blocks("docs/login.md", "OAuth, on PostgreSQL 18", "sql")[0]);
    let refused = cluster.run_sql_file("postgres", "app", path).expect_err("no OAuth before PostgreSQL 18");
    assert!(refused.contains("unrecognized configuration parameter \"oauth_validator_libraries\""), "{refused}");
}

/// The statements, and the two files, on a server that would let everybody else in.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn the_token_is_the_password() {
    let cluster = Cluster::options().with_pam_services().start();
    cluster.create_database("app", "UTF8");
    let key = SigningKey::generate(Alg::Es256, "documents");
    run(&cluster, "CREATE EXTENSION pg_jwks");
    let statements = &blocks("docs/login.md", "The token as password", "sql")[0];
    run(&cluster, &format!("LOAD 'pg_jwks'; {statements}"));
    let [service, hba] = &blocks("docs/login.md", "The token as password", "")[..] else { panic!("two files") };
    let example = Page::of_repository("docs/pam.d/pg_jwks").text();
    assert!(example.ends_with(service), "the example is another file: {example}");
    cluster.write_pam_service("pg_jwks", &service.replace("pam_pg_jwks.so", "{module}"));
    cluster.write_file("pg_hba.conf", &format!("{hba}\nhost all all all trust\n"));
    encrypt(&cluster);
    cluster.restart();
    publish(&cluster, &key);
    reloaded(&cluster, "pg_jwks.jwks");
    let log_in = |token: &str| {
        let parameters = [("user", "alice"), ("database", "app")];
        RawClient::connect_over_tls(&cluster, &parameters, Credentials::Cleartext(token))
    };
    let read = [("scope", json!("openid db:read"))];
    let mut alice = log_in(&token(&key, "alice", &read)).expect("her token");
    assert_eq!(alice.value("SELECT auth.user_id()").as_deref(), Some("alice"));
    for refused in [token(&key, "bob", &read), token(&key, "alice", &[("scope", json!("openid"))])] {
        assert!(log_in(&refused).is_err(), "{refused}");
    }
}

/// The lines of `pg_hba.conf` but for TLS, on a server that would let everybody else in.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn the_login_works_from_postgresql_18_on() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "documents");
    run(&cluster, "CREATE EXTENSION pg_jwks");
    run(&cluster, &blocks("docs/login.md", "OAuth, on PostgreSQL 18", "sql")[0]);
    let hba = &blocks("docs/login.md", "OAuth, on PostgreSQL 18", "")[0];
    assert!(hba.contains("hostssl ") && hba.contains("peer"), "{hba}");
    let hba = hba.replace("hostssl ", "host    ");
    cluster.write_file("pg_hba.conf", &format!("{hba}\nhost all all all trust\n"));
    cluster.restart();
    publish(&cluster, &key);
    reloaded(&cluster, "pg_jwks.jwks");
    let faults = cluster.client().query("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL", &[]);
    assert!(faults.expect("pg_hba_file_rules").is_empty());

    let log_in = |token: &str| RawClient::connect(&cluster, "alice", "app", Credentials::Bearer(token));
    let read = [("scope", json!("openid db:read"))];
    let mut alice = log_in(&token(&key, "alice", &read)).expect("her token");
    assert_eq!(alice.value("SELECT auth.user_id()").as_deref(), Some("alice"));
    for refused in [token(&key, "bob", &read), token(&key, "alice", &[("scope", json!("openid"))])] {
        assert!(log_in(&refused).is_err(), "{refused}");
    }
}
