//! Servers with the library preloaded, and applications on them: roles with settings of their own.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::cluster::Options;
use pg_test::login::{NOTES, unique};
use pg_test::{Cluster, Issuer, PgError, pg_error};
use postgres::Client;

pub use pg_test::login::{accepted, init, sees, token};

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

/// One application.
#[derive(Clone)]
pub struct App<'c> {
    cluster: &'c Cluster,
    role: String,
}

impl<'c> App<'c> {
    /// A plain role with these settings, named without `pg_jwks.`.
    pub fn new(cluster: &'c Cluster, settings: &[(&str, &str)]) -> Self {
        let app = Self { cluster, role: format!("app_{}", unique()) };
        cluster.client().batch_execute(&format!("CREATE ROLE {} LOGIN", app.role)).expect("CREATE ROLE");
        for (name, value) in settings {
            app.set(name, value);
        }
        app
    }

    /// An application that trusts this issuer.
    pub fn of(cluster: &'c Cluster, issuer: &Issuer, settings: &[(&str, &str)]) -> Self {
        let app = Self::new(cluster, settings);
        app.set("issuer", issuer.url());
        app
    }

    /// Changes a setting, for sessions to come.
    pub fn set(&self, name: &str, value: &str) {
        let value = value.replace('\'', "''");
        let statement = format!("ALTER ROLE {} SET pg_jwks.{name} = '{value}'", self.role);
        self.cluster.client().batch_execute(&statement).expect("ALTER ROLE");
    }

    /// A session.
    pub fn connect(&self) -> Client {
        self.cluster.connect(&self.role, "postgres")
    }

    /// A superuser's session with the application's settings.
    pub fn admin(&self) -> Client {
        let mut admin = self.cluster.client();
        let query = "SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = $1";
        for row in admin.query(query, &[&self.role]).expect("settings of the role") {
            let setting: String = row.get(0);
            let (name, value) = setting.split_once('=').expect("name=value");
            admin.execute("SELECT set_config($1, $2, false)", &[&name, &value]).expect("SET");
        }
        admin
    }

    /// The role's name.
    pub fn role(&self) -> &str {
        &self.role
    }
}

/// The token is refused with this SQLSTATE and reason, and then there is no identity.
#[track_caller]
pub fn refused(client: &mut Client, token: &str, sqlstate: &str, reason: &str) -> PgError {
    let Err(error) = init(client, token) else { panic!("accepted, not refused as {reason}") };
    let message = format!("JWT rejected: {reason}");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), (sqlstate, message.as_str()), "{error:?}");
    assert!(sees(client).is_empty(), "an identity is left");
    error
}

/// The keys cannot be had, and the error says why.
#[track_caller]
pub fn unavailable(client: &mut Client, token: &str) -> PgError {
    let error = refused(client, token, "55000", "keys unavailable");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("pg_jwks.")), "{error:?}");
    error
}

/// The issuer has no such key.
#[track_caller]
pub fn key_unknown(client: &mut Client, token: &str) {
    refused(client, token, "28000", "key unknown");
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

/// Sends a signal to a process of the server.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: kill takes no pointers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal {signal} to {pid}");
}

/// What comes out at last; panics where nothing does.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the server has ended its recovery from a crash.
pub fn recovered(cluster: &Cluster) {
    eventually("the server after its crash", || cluster.try_connect(&mut cluster.config()).ok());
}
