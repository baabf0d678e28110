//! Servers whose sessions begin with a token, and what the tests have in common.

use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::cluster::{LogMark, Options};
use pg_test::parallel::BIG;
use pg_test::wait::eventually;
use pg_test::{Cluster, Credentials, Issuer, PgError, RawClient, Refused, claims_with, jwks};
use postgres::Client;
use serde_json::{Value, json};

pub use pg_test::offline::{ISSUER, KEY};

/// The server that most tests share. What a line of `pg_hba.conf` asks for is chosen by the database.
pub static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = started(
        options()
            .setting("pg_jwks.issuer", ISSUER)
            .setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
            .setting(
                "pg_jwks.providers",
                &json!([{ "issuer": "https://other.test", "jwks": jwks(&[&KEY]) }]).to_string(),
            )
            .setting("pg_jwks.role_claim", "roles")
            .setting("pg_jwks.role_map", "writer=app, boss=postgres")
            .setting("pg_jwks.audit_log", "all")
            .setting("pg_jwks.audit_claims", "sub")
            .setting("pg_jwks.leeway", "0"),
    );
    for db in ["named", "mapped", "delegated", "discovery", "unconfigured", "scoped"] {
        cluster.client().batch_execute(&format!("CREATE DATABASE {db}")).expect("CREATE DATABASE");
    }
    authenticate(
        &cluster,
        &format!(
            r#"host named,named_latin1 all all oauth issuer="{ISSUER}" scope="login"
               host mapped all all oauth issuer="{ISSUER}" scope="login" map=people
               host delegated all all oauth issuer="{ISSUER}" scope="login" delegate_ident_mapping=1
               host discovery all all oauth issuer="{ISSUER}/.well-known/openid-configuration" scope="login"
               host scoped all all oauth issuer="{ISSUER}" scope="login db:read"
               host unconfigured all all oauth issuer="https://nobody.test" scope="login"
               host replication all all oauth issuer="{ISSUER}" scope="login" map=people
            "#
        ),
        "people /^(.*)@corp\\.example$ \\1\npeople root@corp.example postgres\npeople root@corp.example standby\n\
         people root@corp.example pg_monitor\npeople root@corp.example ghost",
    );
    cluster
});

/// The settings that every server of these tests has.
pub fn options() -> Options {
    Cluster::options()
        .setting("oauth_validator_libraries", "pg_jwks")
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allow_insecure_http", "on")
        .for_many_tests()
        .setting("max_connections", "250")
}

/// The settings of a server that has the key of [`ISSUER`].
pub fn of_key() -> Options {
    options().setting("pg_jwks.issuer", ISSUER).setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
}

/// The settings of a server that has the keys of `issuer`.
pub fn of_issuer(issuer: &Issuer) -> Options {
    options().setting("pg_jwks.issuer", issuer.url())
}

/// Starts a server with the extension, roles `app` and `bob`, and a table that shows each user their own rows.
pub fn started(options: Options) -> Cluster {
    let cluster = options.start();
    let mut template = cluster.connect("postgres", "template1");
    template
        .batch_execute(
            "CREATE EXTENSION pg_jwks;
             CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE app LOGIN;
             CREATE ROLE standby LOGIN REPLICATION;",
        )
        .expect("the extension and roles");
    template.batch_execute(BIG).expect("a table");
    drop(template);
    cluster
}

/// Puts these lines of `pg_hba.conf` before the one that trusts everybody.
pub fn authenticate(cluster: &Cluster, hba: &str, ident: &str) {
    cluster.write_file("pg_hba.conf", &format!("{hba}\nlocal all all trust\nhost all all all trust\n"));
    cluster.write_file("pg_ident.conf", &format!("{ident}\n"));
    cluster.reload();
    let errors = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL";
    let wrong = cluster.client().query(errors, &[]).expect("pg_hba_file_rules");
    assert!(wrong.is_empty(), "{wrong:?}");
    eventually("a reload", || cluster.log().contains("received SIGHUP").then_some(()));
    // The postmaster reads the files right after it has said so.
    sleep(Duration::from_millis(100));
}

/// A server whose database `named` asks for tokens of `issuer`; others trust everybody.
pub fn asking(options: Options, issuer: &str) -> Cluster {
    let cluster = started(options);
    cluster.client().batch_execute("CREATE DATABASE named").expect("CREATE DATABASE");
    authenticate(&cluster, &format!("host named all all oauth issuer=\"{issuer}\" scope=\"login\""), "");
    cluster
}

/// Good claims of alice, who is called like the role.
pub fn good() -> Value {
    with(json!({}))
}

/// Good claims with these instead; null ones are left out.
pub fn with(changes: Value) -> Value {
    let mut all = claims_with(ISSUER, "alice", &changes);
    let object = all.as_object_mut().expect("an object");
    object.entry("scope").or_insert_with(|| json!("login"));
    object.retain(|_, value| !value.is_null());
    all
}

/// A token of these claims.
pub fn token_with(changes: Value) -> String {
    KEY.sign(&with(changes))
}

/// Logs in at the shared server.
pub fn login(user: &str, db: &str, token: &str) -> Result<RawClient, Refused> {
    RawClient::connect(&SERVER, user, db, Credentials::Bearer(token))
}

/// Logs in as alice in a database that takes `sub` for the role.
pub fn alice() -> RawClient {
    login("alice", "named", &KEY.sign(&good())).expect("a good token")
}

/// A session of the superuser, without a token: the Unix socket is trusted.
pub fn superuser(cluster: &Cluster, db: &str) -> Client {
    let mut config = postgres::Config::new();
    config.host_path(cluster.socket_dir()).port(cluster.port()).user("postgres").dbname(db);
    cluster.try_connect(&mut config).expect("a session")
}

/// Runs statements that must succeed.
#[track_caller]
pub fn run(client: &mut RawClient, statements: &str) {
    client.query(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

/// Runs statements that must fail.
#[track_caller]
pub fn failed(client: &mut RawClient, statements: &str) -> PgError {
    client.query(statements).expect_err(statements)
}

/// Who the session says it is.
#[track_caller]
pub fn identity(client: &mut RawClient) -> Option<String> {
    let by_setting = client.value("SELECT nullif(current_setting('pg_jwks.session'), '')::jsonb ->> 'sub'");
    let by_reader = client.value("SELECT auth.user_id()");
    assert_eq!(by_setting, by_reader, "the setting and the reader");
    by_reader
}

/// What the log has after `mark`, once it has `words`.
#[track_caller]
pub fn logged(cluster: &Cluster, mark: LogMark, words: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = cluster.log_since(mark);
        if log.contains(words) {
            return log;
        }
        assert!(Instant::now() < deadline, "no \"{words}\" in the log:\n{log}");
        sleep(Duration::from_millis(10));
    }
}
