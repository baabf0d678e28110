//! Servers with the library preloaded, and what they say of their keys.

use std::sync::LazyLock;

use pg_test::cluster::Options;
use pg_test::login::NOTES;
use pg_test::wait::eventually;
use pg_test::{Cluster, pg_error};
use postgres::Client;

/// The server of the tests that leave it as it is. Its own settings name no issuer.
pub static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| started(preloaded()));

/// The settings of a server with the library preloaded.
pub fn preloaded() -> Options {
    Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("pg_jwks.audience", "app")
}

/// A server with a table under RLS.
pub fn started(options: Options) -> Cluster {
    let cluster = options.start();
    install(&cluster, "postgres");
    cluster
}

/// Creates the extension and a table under RLS.
pub fn install(cluster: &Cluster, db: &str) {
    cluster.connect("postgres", db).batch_execute(NOTES).expect("schema");
}

/// What `auth.jwks()` says of a source: the error, and the number of keys.
pub fn last_error(admin: &mut Client, source: &str) -> (Option<String>, i64) {
    let query = "SELECT max(last_error), count(kid) FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0";
    let row = admin.query_one(query, &[&source]).expect("auth.jwks()");
    (row.get(0), row.get(1))
}

/// Fetches the keys of the application's issuers; the DETAIL where that failed.
pub fn refresh(admin: &mut Client) -> Result<(), String> {
    let result = admin.execute("SELECT auth.jwks_refresh()", &[]);
    result.map(drop).map_err(|error| pg_error(&error).detail.expect("a DETAIL"))
}

/// The process id of the worker, once it runs.
pub fn worker_pid(cluster: &Cluster) -> i32 {
    let mut client = cluster.client();
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_jwks keys'";
    eventually("a worker", || client.query_opt(query, &[]).expect("pg_stat_activity").map(|row| row.get(0)))
}

/// Waits until the server has ended its recovery from a crash.
pub fn recovered(cluster: &Cluster) {
    eventually("the server after its crash", || cluster.try_connect(&mut cluster.config()).ok());
}
