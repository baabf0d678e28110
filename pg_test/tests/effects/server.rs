//! The server that the tests share, and the statements they have in common.

use std::sync::LazyLock;

use pg_test::cluster::Options;
use pg_test::{Cluster, PgError, offline, pg_error};
use postgres::Client;
use serde_json::Value;

pub use pg_test::offline::ISSUER;
pub use pg_test::sql::{refused, run, value};

/// The session variables of the shared server.
pub const CLAIM_SETTINGS: &str =
    r#"app.user_id=sub, app.tenant_id=org.id, app.roles=["https://x.example/roles"], request.jwt.claims=*"#;

/// Has the library from the start; each feature is off until a database turns it on.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.claim_settings", CLAIM_SETTINGS)
        .start();
    create_roles(&cluster);
    cluster
});

/// A server that trusts [`ISSUER`].
pub fn options() -> Options {
    offline::options().for_many_tests()
}

/// The extension for new databases, and roles: `app` may become `app_admin` and `app_writer`, and not `outsider`.
pub fn create_roles(cluster: &Cluster) {
    let mut template = cluster.connect("postgres", "template1");
    run(
        &mut template,
        "CREATE EXTENSION pg_jwks;
         CREATE ROLE app LOGIN NOINHERIT; CREATE ROLE app_admin; CREATE ROLE app_writer; CREATE ROLE web; CREATE ROLE outsider;
         GRANT app_admin, app_writer, web TO app;
         GRANT ALL ON SCHEMA public TO PUBLIC;",
    );
}

/// The shared server.
pub fn server() -> &'static Cluster {
    &SERVER
}

/// A new database with these settings `pg_jwks.*`.
pub fn database(name: &str, settings: &[(&str, &str)]) -> String {
    let mut client = server().client();
    run(&mut client, &format!("CREATE DATABASE {name}"));
    for (setting, value) in settings {
        run(&mut client, &format!("ALTER DATABASE {name} SET pg_jwks.{setting} = '{value}'"));
    }
    name.to_owned()
}

/// A session of role `app`, no superuser and owner of nothing.
pub fn app(database: &str) -> Client {
    server().connect("app", database)
}

/// A good token of alice with more claims, or others.
pub fn token(more: Value) -> String {
    offline::token_with(&more)
}

pub fn try_init(client: &mut Client, token: &str, is_local: bool) -> Result<(), PgError> {
    let done = client.execute("SELECT auth.jwt_session_init($1, $2)", &[&token, &is_local]);
    done.map(drop).map_err(|error| pg_error(&error))
}

pub fn init(client: &mut Client, token: &str) {
    try_init(client, token, false).expect("a good token is accepted");
}
