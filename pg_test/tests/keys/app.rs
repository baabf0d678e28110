//! Applications: roles with settings of their own, which share one server and one table under RLS.

use std::sync::LazyLock;

use pg_test::login::{NOTES, unique};
use pg_test::{Cluster, Issuer, PgError, pg_error};
use postgres::Client;

pub use pg_test::login::{accepted, init, sees, token};

/// The server. The library is not preloaded, so each backend loads it at its first call.
pub static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::options()
        .setting("max_connections", "200")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("pg_jwks.audience", "app")
        .start();
    cluster.client().batch_execute(NOTES).expect("schema");
    cluster
});

/// One application.
pub struct App {
    role: String,
}

impl App {
    /// A plain role with these settings, named without `pg_jwks.`.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let app = Self { role: format!("app_{}", unique()) };
        CLUSTER.client().batch_execute(&format!("CREATE ROLE {} LOGIN", app.role)).expect("CREATE ROLE");
        for (name, value) in settings {
            app.set(name, value);
        }
        app
    }

    /// An application that trusts this issuer.
    pub fn of(issuer: &Issuer, settings: &[(&str, &str)]) -> Self {
        let app = Self::new(settings);
        app.set("issuer", issuer.url());
        app
    }

    /// Changes a setting, for sessions to come.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        if let Err(error) = self.try_set(name, value) {
            panic!("pg_jwks.{name} = {value}: {error:?}");
        }
    }

    /// Changes a setting, for sessions to come, or says why not.
    pub fn try_set(&self, name: &str, value: &str) -> Result<(), PgError> {
        let statement = format!("LOAD 'pg_jwks'; ALTER ROLE {} SET {}", self.role, assignment(name, value));
        CLUSTER.client().batch_execute(&statement).map_err(|error| pg_error(&error))
    }

    /// A session.
    pub fn connect(&self) -> Client {
        CLUSTER.connect(&self.role, "postgres")
    }

    /// The role's name.
    pub fn role(&self) -> &str {
        &self.role
    }
}

/// What follows SET.
pub fn assignment(name: &str, value: &str) -> String {
    format!("pg_jwks.{name} = '{}'", value.replace('\'', "''"))
}

/// The token is refused with this SQLSTATE, reason and words in the DETAIL, and then there is no identity.
#[track_caller]
pub fn refused(client: &mut Client, token: &str, sqlstate: &str, reason: &str, words: &str) -> PgError {
    let Err(error) = init(client, token) else { panic!("accepted, not refused as {reason}") };
    assert_eq!(
        (error.sqlstate.as_str(), error.message.as_str()),
        (sqlstate, &*format!("JWT rejected: {reason}")),
        "{error:?}"
    );
    let detail = error.detail.as_deref().expect("a DETAIL");
    assert!(detail.contains(words), "{detail:?} has no {words:?}");
    assert!(detail.starts_with(|first: char| first.is_ascii_uppercase()) && detail.ends_with('.'), "{detail:?}");
    assert!(!detail.contains("..") && !detail.contains(['\n', '\t']), "{detail:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!format!("{error:?}").contains(part), "{error:?}");
    }
    assert!(sees(client).is_empty(), "an identity is left");
    error
}

/// The keys cannot be had.
#[track_caller]
pub fn unavailable(client: &mut Client, token: &str, words: &str) {
    let error = refused(client, token, "55000", "keys unavailable", words);
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("pg_jwks.")), "{error:?}");
}

/// The issuer has no such key.
#[track_caller]
pub fn key_unknown(client: &mut Client, token: &str) {
    refused(client, token, "28000", "key unknown", "");
}
