//! `rls_examples/psql_login`, installed as its README says, at a certified OpenID provider.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread::{self, sleep};
use std::time::Duration;

use pg_test::cluster::free_port;
use pg_test::node::node;
use pg_test::oidc_provider::AUDIENCE;
use pg_test::tls::{encrypt, root_of};
use pg_test::{Cluster, Decision, OidcProvider};
use serde_json::{Value, json};
use tempfile::TempDir;

static EXAMPLE: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../rls_examples/psql_login"));

/// A person's machine.
struct Person {
    provider: OidcProvider,
    home: TempDir,
}

impl Person {
    fn new() -> Self {
        Self { provider: OidcProvider::start(), home: tempfile::tempdir().expect("a folder") }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("psql-login/login.json")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = node(&EXAMPLE);
        command.arg("dist/main.js").args(words).env("XDG_STATE_HOME", self.home.path());
        command.env("BROWSER", "/nonexistent").env_remove("PSQL_LOGIN_FILE");
        command
    }

    fn login(&self, client: &str, more: &[&str]) -> Command {
        let words = ["login", "--issuer", self.provider.url(), "--client-id", client, "--scope", "openid db:read"];
        self.command(&[&words, more].concat())
    }

    fn log_in_with_browser(&self, client: &str, user: &str) -> String {
        let browser = self.provider.browser(user, Decision::Approve);
        let output = self.login(client, &[]).env("BROWSER", browser).output().expect("the command");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    fn said(&self, words: &[&str]) -> String {
        let output = self.command(words).output().expect("the command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    #[track_caller]
    fn assert_refused(&self, words: &[&str], why: &str) {
        assert_failed(&self.command(words).output().expect("the command"), why);
    }

    fn stored(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.file()).expect("a login")).expect("JSON")
    }
}

#[track_caller]
fn assert_failed(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains(why) && !said.contains("    at "), "{said}");
}

#[test]
fn a_person_logs_in_with_the_browser() {
    let person = Person::new();
    let said = person.log_in_with_browser("cli", "alice");
    assert!(said.contains(&format!("Logged in as alice at {}.", person.provider.url())), "{said}");
    let mode = |path: &Path| fs::metadata(path).expect("its mode").permissions().mode() & 0o777;
    assert_eq!(mode(&person.file()), 0o600);
    assert_eq!(mode(person.file().parent().expect("a folder")), 0o700);
    let token = person.said(&["token"]);
    assert_eq!(token.split('.').count(), 3, "{token}");
    assert_eq!(person.said(&["token"]), token, "a token that is fresh");
    let who = person.command(&["who"]).output().expect("the command").stderr;
    assert!(String::from_utf8_lossy(&who).starts_with("Logged in as alice at "));
}

#[test]
fn a_person_without_a_browser_logs_in_with_a_code() {
    let person = Person::new();
    let mut child = person.login("cli", &["--device"]).stderr(Stdio::piped()).spawn().expect("the command");
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("a line");
    let (url, code) = line.trim()["Visit ".len()..].split_once(" and enter the code: ").expect("URL and code");
    person.provider.decide(url, code, "bob", Decision::Approve);
    let mut rest = String::new();
    errors.read_to_string(&mut rest).expect("UTF-8");
    assert!(child.wait().expect("the command").success() && rest.starts_with("Logged in as bob at "), "{rest}");
}

#[test]
fn who_aborts_is_not_logged_in() {
    let person = Person::new();
    let browser = person.provider.browser("alice", Decision::Deny);
    let output = person.login("cli", &[]).env("BROWSER", browser).output().expect("the command");
    assert_failed(&output, "The provider says: access_denied");
    person.assert_refused(&["token"], "Nobody is logged in");
}

/// Somebody else's request to the callback, with a code of theirs.
#[test]
fn the_callback_takes_no_code_of_another_login() {
    let person = Person::new();
    let honest = person.provider.browser("alice", Decision::Approve);
    let browser = person.home.path().join("browser");
    let attack = "redirect=$(printf %s \"$1\" | sed -E 's/.*redirect_uri=([^&]*).*/\\1/; s/%3A/:/g; s/%2F/\\//g')
        for query in 'code=evil' 'code=evil&state=evil' 'error=access_denied'; do
            curl --silent --output /dev/null --write-out '%{http_code} ' \"$redirect?$query\" >>\"$0.log\"
        done";
    fs::write(&browser, format!("#!/bin/sh\n{attack}\nexec {} \"$1\"\n", honest.display())).expect("a script");
    fs::set_permissions(&browser, Permissions::from_mode(0o755)).expect("permissions of the script");
    let output = person.login("cli", &[]).env("BROWSER", &browser).output().expect("the command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = fs::read_to_string(browser.with_extension("log")).expect("answers");
    assert_eq!(answers.trim(), "404 404 404");
}

/// A refresh token is good for one use.
#[test]
fn a_token_is_refreshed_a_minute_before_it_expires() {
    let person = Person::new();
    person.log_in_with_browser("cli-short", "alice");
    let first = person.stored();
    sleep(Duration::from_secs(3));
    let tokens: Vec<String> = thread::scope(|scope| {
        let processes: Vec<_> = (0..4).map(|_| scope.spawn(|| person.said(&["token"]))).collect();
        processes.into_iter().map(|process| process.join().expect("a process")).collect()
    });
    assert!(tokens.iter().all(|token| first["accessToken"] != **token), "not refreshed");
    let second = person.stored();
    assert_ne!(second["refreshToken"], first["refreshToken"]);
    assert_eq!(second["subject"], "alice");
    // The provider takes the first one no more, and then neither the second: it was stolen, as far as the provider knows.
    let old = json!({ "expiresAt": 0, "accessToken": "", "refreshToken": first["refreshToken"] });
    let mut stolen = first;
    stolen.as_object_mut().expect("an object").extend(old.as_object().expect("an object").clone());
    fs::write(person.file(), stolen.to_string()).expect("an old login");
    person.assert_refused(&["token"], "The provider says: invalid_grant");
}

#[test]
fn logging_out_forgets_and_revokes() {
    let person = Person::new();
    person.log_in_with_browser("cli", "alice");
    let mut login = person.stored();
    person.said(&["logout"]);
    assert!(!person.file().exists());
    person.assert_refused(&["token"], "Nobody is logged in: psql-login login --issuer URL --client-id ID");
    person.said(&["logout"]);
    // Who has kept the tokens gets no new one.
    login["expiresAt"] = json!(0);
    fs::write(person.file(), login.to_string()).expect("a login");
    fs::set_permissions(person.file(), Permissions::from_mode(0o600)).expect("its permissions");
    person.assert_refused(&["token"], "The provider says: invalid_grant");
}

#[test]
fn a_file_that_others_can_read_is_not_used() {
    let person = Person::new();
    person.log_in_with_browser("cli", "alice");
    fs::set_permissions(person.file(), Permissions::from_mode(0o640)).expect("its permissions");
    person.assert_refused(&["token"], "Others may read or write");
}

#[test]
fn mistakes_are_told_in_a_line() {
    let person = Person::new();
    person.assert_refused(&[], "psql-login login --issuer URL --client-id ID");
    person.assert_refused(&["login", "--issuer", "https://a.example"], "psql-login login --issuer");
    person.assert_refused(&["token", "--verbose"], "Unknown option '--verbose'");
    let nowhere = format!("https://127.0.0.1:{}/", free_port());
    person.assert_refused(&["login", "--issuer", &nowhere, "--client-id", "cli"], "ECONNREFUSED");
    let unencrypted = ["login", "--issuer", "http://login.example.com/", "--client-id", "cli"];
    person.assert_refused(&unencrypted, "HTTP");
}

/// `PGPASSWORD="$(psql-login token)" psql`.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn the_token_opens_psql() {
    let person = Person::new();
    let issuer = person.provider.url();
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.issuer", issuer)
        .setting("pg_jwks.audience", AUDIENCE)
        .setting("pg_jwks.token_type", "access")
        .setting("pg_jwks.allow_insecure_http", "on")
        .with_pam_services()
        .start();
    encrypt(&cluster);
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks; CREATE ROLE alice LOGIN").expect("a role");
    let lines = format!("auth required {{module}} issuer={issuer} [scope=db:read]\naccount required {{module}}\n");
    cluster.write_pam_service("pg_jwks", &lines);
    cluster.write_file("pg_hba.conf", "local all all trust\nhostssl all all all pam pamservice=pg_jwks\n");
    cluster.restart();

    person.log_in_with_browser("cli", "alice");
    let mut psql = cluster.psql();
    let target = format!("user=alice dbname=postgres sslmode=verify-full sslrootcert={}", root_of(&cluster).display());
    psql.env("PGPASSWORD", person.said(&["token"])).args(["-Atc", "SELECT auth.user_id()"]).arg(target);
    let output = psql.output().expect("psql");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alice\n", "{}", String::from_utf8_lossy(&output.stderr));
}
