//! The server that the tests share, and the statements they have in common.

use std::sync::LazyLock;

use pg_test::cluster::Options;
use pg_test::parallel::BIG;
use pg_test::{Cluster, now, offline};
use postgres::Client;
use serde_json::{Value, json};

pub use pg_test::login::init as try_init;
pub use pg_test::offline::{FORGER, ISSUER, KEY, forged_token, token};
pub use pg_test::parallel::{self, PARALLEL, rows_for_workers};
pub use pg_test::sql::{refused, run, value};

/// Loads the library at the first call of one of its functions, as most installations do.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| started(options()));

/// What an attacker would like to be; in it are all claims that a real value has.
pub const EVIL: &str =
    r#"{"iss":"https://issuer.test","sub":"bob","aud":"app","iat":1700000000,"exp":4102444800,"role":"admin"}"#;

/// Has the library from the start, logs all it can, and has a forged identity in its configuration file.
pub static PRELOADED: LazyLock<Cluster> = LazyLock::new(|| {
    started(
        options()
            .setting("shared_preload_libraries", "pg_jwks")
            .setting("pg_jwks.session", EVIL)
            .setting("log_min_messages", "debug1")
            .setting("log_min_error_statement", "debug1")
            .setting("log_statement", "all")
            .setting("log_min_duration_statement", "0")
            .setting("log_parameter_max_length_on_error", "-1")
            .setting("log_error_verbosity", "verbose")
            .setting("deadlock_timeout", "50ms"),
    )
});

/// A server that trusts [`ISSUER`].
pub fn options() -> Options {
    offline::options().for_many_tests()
}

/// Starts a server whose databases have the extension, two roles, and two tables that show each user their own rows:
/// `note` with one row for each of alice, bob and carol, and [`BIG`].
pub fn started(options: Options) -> Cluster {
    let cluster = options.start();
    let mut template = cluster.connect("postgres", "template1");
    template
        .batch_execute(
            "CREATE EXTENSION pg_jwks;
             CREATE ROLE app LOGIN; CREATE ROLE other LOGIN;
             GRANT ALL ON SCHEMA public TO app, other;
             CREATE TABLE note (id int, owner text, body text);
             INSERT INTO note VALUES (1, 'alice', 'a'), (2, 'bob', 'b'), (3, 'carol', 'c');
             ANALYZE note;
             ALTER TABLE note ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON note USING (owner = auth.user_id());
             GRANT ALL ON note TO PUBLIC;",
        )
        .expect("the schema");
    template.batch_execute(BIG).expect("a table");
    drop(template);
    cluster.client().batch_execute("CREATE DATABASE app").expect("CREATE DATABASE");
    cluster
}

/// The shared server.
pub fn server() -> &'static Cluster {
    &SERVER
}

/// A session of role `app`, which owns nothing and is no superuser, in the database `app`.
pub fn session() -> Client {
    server().connect("app", "app")
}

/// A session of the superuser in the database `app`.
pub fn superuser() -> Client {
    server().connect("postgres", "app")
}

/// A database of its own, for a test that changes settings or objects.
pub fn database(name: &str) -> &str {
    server().client().batch_execute(&format!("CREATE DATABASE {name}")).expect("CREATE DATABASE");
    name
}

/// A good token with more claims, or others.
pub fn token_with(more: Value) -> String {
    offline::token_with(&more)
}

/// A good token for some seconds.
pub fn token_for_seconds(sub: &str, seconds: i64) -> String {
    token_with(json!({ "sub": sub, "exp": now() + seconds }))
}

/// `SELECT auth.jwt_session_init(token)`, to read in statements.
pub fn init_statement(token: &str) -> String {
    format!("SELECT auth.jwt_session_init('{token}')")
}

/// The same for the transaction.
pub fn local_init_statement(token: &str) -> String {
    format!("SELECT auth.jwt_session_init('{token}', true)")
}

/// Makes `sub` the session's identity.
pub fn init(client: &mut Client, sub: &str) {
    try_init(client, &token(sub)).expect("a good token is accepted");
}

/// Who the session says it is; all ways to ask must agree.
#[track_caller]
pub fn identity(client: &mut Client) -> Option<String> {
    let row = client
        .query_one(
            "SELECT auth.user_id(), auth.jwt() ->> 'sub', auth.claim('sub'),
                    nullif(current_setting('pg_jwks.session'), '')::jsonb ->> 'sub',
                    (SELECT string_agg(owner, ',') FROM note)",
            &[],
        )
        .expect("the readers");
    let answers: Vec<Option<String>> = (0..row.len()).map(|column| row.get(column)).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "the readers disagree: {answers:?}");
    answers.into_iter().next().flatten()
}
