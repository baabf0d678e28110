//! Applications: roles of one server, each with settings of its own.

use std::sync::LazyLock;

use postgres::Client;

use crate::login::{NOTES, unique};
use crate::{Cluster, Issuer, PgError, pg_error};

/// A server that does not preload the library, so that each backend loads it at its first call. It has [`NOTES`], and
/// names no issuer.
pub static NOT_PRELOADED: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::options()
        .setting("max_connections", "200")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("pg_jwks.audience", "app")
        .start();
    cluster.client().batch_execute(NOTES).expect("schema");
    cluster
});

/// One application.
#[derive(Clone)]
pub struct App<'c> {
    cluster: &'c Cluster,
    role: String,
}

impl<'c> App<'c> {
    /// A role with these settings, named without `pg_jwks.`, which is told the values of settings: details have them.
    pub fn new(cluster: &'c Cluster, settings: &[(&str, &str)]) -> Self {
        let app = Self::plain(cluster, settings);
        cluster.client().batch_execute(&format!("GRANT pg_monitor TO {}", app.role)).expect("GRANT");
        app
    }

    /// A role without any rights, with these settings.
    pub fn plain(cluster: &'c Cluster, settings: &[(&str, &str)]) -> Self {
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
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        if let Err(error) = self.try_set(name, value) {
            panic!("pg_jwks.{name} = {value}: {error:?}");
        }
    }

    /// Changes a setting, for sessions to come, or says why not.
    pub fn try_set(&self, name: &str, value: &str) -> Result<(), PgError> {
        let statement = format!("LOAD 'pg_jwks'; ALTER ROLE {} SET {}", self.role, assignment(name, value));
        self.cluster.client().batch_execute(&statement).map_err(|error| pg_error(&error))
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

/// What follows SET.
pub fn assignment(name: &str, value: &str) -> String {
    format!("pg_jwks.{name} = '{}'", value.replace('\'', "''"))
}
