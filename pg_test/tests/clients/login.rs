//! PostgreSQL 18: people log in with psql's device flow and services with their tokens, at a certified OpenID provider.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use pg_test::oidc_provider::AUDIENCE;
use pg_test::{Authority, Cluster, Credentials, Decision, OidcProvider, RawClient};

use crate::app::SCHEMA;

/// How long psql may take to show a code.
const CODE_TIMEOUT: Duration = Duration::from_secs(30);

const WHO: &str = "SELECT auth.user_id(), current_user, system_user, auth.role()";

/// A server with a database for each of two providers, one of which speaks https.
struct Site {
    cluster: Cluster,
    http: OidcProvider,
    https: OidcProvider,
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let authority = Authority::new();
    let options = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.audience", &format!("{AUDIENCE}, psql"))
        .setting("pg_jwks.token_type", "access")
        .setting("pg_jwks.allow_insecure_http", "on");
    let cluster = options.start();
    let (http, https) = (OidcProvider::start(), OidcProvider::start_tls(&authority));
    let ca_file = cluster.write_file("ca.pem", &authority.pem());
    let mut admin = cluster.client();
    admin.batch_execute("CREATE DATABASE secure").expect("CREATE DATABASE");
    admin.batch_execute(SCHEMA).expect("schema");
    admin.batch_execute("CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE service LOGIN").expect("roles");
    let schema = SCHEMA.replace("CREATE ROLE web LOGIN;", "");
    cluster.connect("postgres", "secure").batch_execute(&schema).expect("schema");
    for (name, value) in [
        ("oauth_validator_libraries", "pg_jwks"),
        ("pg_jwks.issuer", &format!("{},{}", http.url(), https.url())),
        ("pg_jwks.ca_file", ca_file.to_str().expect("UTF-8")),
    ] {
        admin.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).expect("ALTER SYSTEM");
    }
    let lines = format!(
        "host all postgres,web 127.0.0.1/32 trust
         host postgres all 127.0.0.1/32 oauth issuer=\"{}\" scope=\"db:read db:write\"
         host secure all 127.0.0.1/32 oauth issuer=\"{}\" scope=\"db:read\"\n",
        http.url(),
        https.url()
    );
    cluster.write_file("pg_hba.conf", &lines);
    cluster.restart();
    Site { cluster, http, https }
});

/// What psql did.
#[derive(Debug)]
struct Outcome {
    success: bool,
    output: String,
    errors: String,
}

/// Logs in with psql as somebody does who sits in front of it, and decides about the code in a browser.
fn psql(cluster: &Cluster, provider: &OidcProvider, db: &str, user: &str, query: &str, decision: Decision) -> Outcome {
    let mut command = cluster.psql();
    let options = format!("dbname={db} user={user} oauth_issuer={} oauth_client_id=psql", provider.url());
    command.args(["--quiet", "--no-align", "--tuples-only", "--command", query]).arg(options);
    // It allows http and a private authority.
    command.env("PGOAUTHDEBUG", "UNSAFE");
    if let Some(ca_file) = provider.ca_file() {
        command.env("PGOAUTHCAFILE", ca_file);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql starts");
    let errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let (sender, prompt) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut all = String::new();
        for line in errors.lines() {
            let line = line.expect("UTF-8");
            if line.starts_with("Visit ") {
                // Nobody takes it any more where it came too late.
                let _ = sender.send(line.clone());
            }
            all += &line;
            all += "\n";
        }
        all
    });
    if let Ok(line) = prompt.recv_timeout(CODE_TIMEOUT) {
        let (url, code) = line["Visit ".len()..].split_once(" and enter the code: ").expect("URL and code");
        provider.decide(url, code, user, decision);
    } else {
        // Without a code it waits for nobody, or for ever.
        let _ = child.kill();
    }
    let mut output = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut output).expect("UTF-8");
    let success = child.wait().expect("psql ends").success();
    Outcome { success, output, errors: reader.join().expect("the reader") }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_person_logs_in_with_psql_over_http() {
    let Site { cluster, http, .. } = &*SITE;
    let query = format!("{WHO}; SELECT body FROM note");
    let outcome = psql(cluster, http, "postgres", "alice", &query, Decision::Approve);
    assert!(outcome.success, "{outcome:?}");
    assert_eq!(outcome.output, "alice|alice|oauth:alice|reader\nfrom alice\n");
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_person_logs_in_with_psql_over_https() {
    let Site { cluster, https, .. } = &*SITE;
    let query = format!("{WHO}; SELECT body FROM note");
    let outcome = psql(cluster, https, "secure", "bob", &query, Decision::Approve);
    assert!(outcome.success, "{outcome:?}");
    assert_eq!(outcome.output, "bob|bob|oauth:bob|writer\nfrom bob\n");
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_person_who_aborts_at_the_provider_is_not_logged_in() {
    let Site { cluster, http, .. } = &*SITE;
    let outcome = psql(cluster, http, "postgres", "alice", WHO, Decision::Deny);
    assert!(!outcome.success && outcome.output.is_empty(), "{outcome:?}");
    assert!(
        outcome.errors.contains("failed: failed to obtain access token: End-User aborted interaction (access_denied)"),
        "{outcome:?}"
    );
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_service_logs_in_with_its_own_token() {
    let Site { cluster, http, https } = &*SITE;
    let token = https.service_token("db:read db:write");
    let mut client = RawClient::connect(cluster, "service", "secure", Credentials::Bearer(&token)).expect("a login");
    let who: Vec<_> = ["service", "service", "oauth:service", "service"].map(|text| Some(text.to_owned())).into();
    assert_eq!(client.query(WHO), Ok(vec![who]));
    assert_eq!(client.value("SELECT string_agg(body, ',') FROM note").as_deref(), Some("from service"));

    refused(
        cluster,
        "alice",
        "secure",
        &token,
        "provided user name (alice) and authenticated user name (service) do not match",
    );
    refused(cluster, "service", "secure", &https.service_token("db:write"), "scope missing");
    refused(cluster, "service", "secure", &http.service_token("db:read"), "issuer not accepted");
    // This line asks for another scope, too.
    refused(cluster, "service", "postgres", &http.service_token("db:read"), "scope missing");
}

/// The client learns nothing but that; the log has the reason.
#[track_caller]
fn refused(cluster: &Cluster, user: &str, db: &str, token: &str, reason: &str) {
    let mark = cluster.log_mark();
    let refused = RawClient::connect(cluster, user, db, Credentials::Bearer(token)).err().expect("a refusal");
    assert_eq!(refused.error.message, format!("OAuth bearer authentication failed for user \"{user}\""));
    let log = cluster.log_since(mark);
    assert!(log.contains(reason), "{log}");
    assert!(!log.contains(token.rsplit('.').next().expect("a signature")), "{log}");
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn an_id_token_does_not_log_in() {
    let Site { cluster, http, .. } = &*SITE;
    let tokens = http.device_tokens("alice", "openid db:read db:write");
    refused(cluster, "alice", "postgres", &tokens.id.expect("an ID token"), "token type not accepted");
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn one_policy_serves_a_login_and_a_pool() {
    let Site { cluster, https, .. } = &*SITE;
    let mut pooled = cluster.connect("web", "secure");
    let mut pooled_notes = |token: &str| {
        let mut transaction = pooled.transaction().expect("BEGIN");
        transaction.execute("SELECT auth.jwt_session_init($1, true)", &[&token]).expect("a good token");
        let notes = transaction.query("SELECT body FROM note", &[]).expect("SELECT");
        transaction.commit().expect("COMMIT");
        notes.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    let alice = https.device_tokens("alice", "db:read").access;
    assert_eq!(pooled_notes(&alice), ["from alice"]);
    let mut direct = RawClient::connect(cluster, "alice", "secure", Credentials::Bearer(&alice)).expect("a good token");
    let notes = direct.query("SELECT body FROM note").expect("SELECT");
    assert_eq!(notes, [[Some("from alice".to_owned())]]);
    assert_eq!(pooled_notes(&https.device_tokens("bob", "db:read").access), ["from bob"]);
}
