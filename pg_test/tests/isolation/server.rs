//! The server that the tests share; each test has a database of its own.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use pg_test::{Cluster, PgError, offline, process, sql};
use postgres::Client;
use postgres::types::FromSqlOwned;
use serde_json::json;

/// Trusts tokens whose claim `tenant` names the tenant, and defines `app.tenant` as a safe variable. Its
/// roles `app` and `owner` can connect, `member` is a member of the group `owners`, and none is a superuser.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = offline::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.tenant_claim", "tenant")
        .setting("pg_jwks.claim_settings", "app.tenant=tenant")
        .setting("autovacuum", "off")
        .start();
    let roles =
        "CREATE ROLE app LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE owners; CREATE ROLE member LOGIN IN ROLE owners";
    cluster.client().batch_execute(roles).expect("roles");
    cluster
});

/// The tenants of the tests.
pub const A: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
pub const B: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

/// A database with the extension, in which everybody may create.
pub struct Database {
    name: String,
}

impl Database {
    pub fn new(name: &str) -> Self {
        let database = Self::empty(name);
        database.superuser().run("CREATE EXTENSION pg_jwks; GRANT ALL ON SCHEMA public TO PUBLIC");
        database
    }

    /// One without the extension.
    pub fn empty(name: &str) -> Self {
        CLUSTER.client().batch_execute(&format!("CREATE DATABASE {name}")).expect("CREATE DATABASE");
        Self { name: name.to_owned() }
    }

    pub fn superuser(&self) -> Session {
        self.connect("postgres")
    }

    pub fn connect(&self, user: &str) -> Session {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = notices.clone();
        let mut config = CLUSTER.config();
        config.user(user).dbname(&self.name).notice_callback(move |notice| {
            heard.lock().push(Notice {
                severity: notice.severity().to_owned(),
                message: notice.message().to_owned(),
                hint: notice.hint().map(str::to_owned),
            });
        });
        Session { client: CLUSTER.try_connect(&mut config).expect("a session"), notices }
    }

    /// `pg_dump` and `pg_restore`, aimed at this database as the superuser.
    pub fn program(&self, name: &str) -> Command {
        let mut command = CLUSTER.program(name);
        command.args(["--dbname", &self.name]);
        command
    }

    /// Runs a script with psql as the superuser.
    #[track_caller]
    pub fn run_file(&self, path: &Path) {
        if let Err(output) = CLUSTER.run_sql_file("postgres", &self.name, path) {
            panic!("{}: {output}", path.display());
        }
    }

    /// The schema as SQL.
    pub fn schema(&self) -> String {
        let dump = process::run(self.program("pg_dump").arg("--schema-only"));
        // Each dump has a key of its own in these lines.
        dump.lines().filter(|line| !line.contains("restrict")).collect::<Vec<_>>().join("\n")
    }

    /// All of the catalogues that isolation could change, without the numbers that every change moves, and without the
    /// places that expressions had in the texts of their statements.
    pub fn catalogue(&self) -> Vec<String> {
        self.superuser().column(
            "SELECT regexp_replace(value::text, ':location \\d+', '', 'g') FROM (
             SELECT to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[] FROM pg_class c
             UNION ALL SELECT to_jsonb(t) FROM pg_attribute t WHERE attrelid >= 16384
             UNION ALL SELECT to_jsonb(t) FROM pg_attrdef t
             UNION ALL SELECT to_jsonb(t) FROM pg_policy t
             UNION ALL SELECT to_jsonb(t) FROM pg_constraint t WHERE oid >= 16384
             UNION ALL SELECT to_jsonb(t) FROM pg_description t WHERE objoid >= 16384
             UNION ALL SELECT to_jsonb(t) FROM pg_depend t WHERE objid >= 16384
             UNION ALL SELECT to_jsonb(t) FROM pg_shdepend t JOIN pg_database d ON d.oid = dbid AND datname = current_database()
             UNION ALL SELECT to_jsonb(t) FROM pg_default_acl t) AS c (value) ORDER BY 1",
        )
    }
}

/// Both catalogues have the same rows; what differs is printed.
#[track_caller]
pub fn same(now: &[String], before: &[String]) {
    let only_in = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|row| !others.contains(row)).cloned().collect()
    };
    assert_eq!((only_in(now, before), only_in(before, now)), (vec![], vec![]));
    assert_eq!(now.len(), before.len());
}

/// A NOTICE or WARNING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: String,
    pub message: String,
    pub hint: Option<String>,
}

/// What `auth.rls_lint` reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: String,
    pub severity: String,
    pub object: String,
    pub problem: String,
    pub fix: String,
}

pub struct Session {
    pub client: Client,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Session {
    #[track_caller]
    pub fn run(&mut self, statements: &str) {
        sql::run(&mut self.client, statements);
    }

    #[track_caller]
    pub fn refused(&mut self, statements: &str) -> PgError {
        sql::refused(&mut self.client, statements)
    }

    #[track_caller]
    pub fn value<T: FromSqlOwned>(&mut self, query: &str) -> T {
        sql::value(&mut self.client, query)
    }

    /// The first column of a query, as text.
    #[track_caller]
    pub fn column(&mut self, query: &str) -> Vec<String> {
        let query = format!("SELECT q.value::text FROM ({query}) AS q (value)");
        let rows = self.client.query(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs statements and returns what the server noted.
    #[track_caller]
    pub fn notes(&mut self, statements: &str) -> Vec<Notice> {
        self.heard();
        self.run(statements);
        self.heard()
    }

    fn heard(&self) -> Vec<Notice> {
        std::mem::take(&mut self.notices.lock())
    }

    /// Makes a user of this tenant the session's identity.
    pub fn log_in(&mut self, tenant: &str) {
        let token = offline::token_with(&json!({ "tenant": tenant }));
        self.client.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect("a good token");
    }

    /// What is reported and not accepted.
    pub fn lint(&mut self) -> Vec<Finding> {
        let query = "SELECT rule, severity, object, problem, fix FROM auth.rls_lint() WHERE accepted IS NULL";
        let rows = self.client.query(query, &[]).expect("rls_lint");
        rows.iter()
            .map(|row| Finding {
                rule: row.get(0),
                severity: row.get(1),
                object: row.get(2),
                problem: row.get(3),
                fix: row.get(4),
            })
            .collect()
    }
}

/// A file for a dump.
pub fn dump_file(name: &str) -> std::path::PathBuf {
    CLUSTER.socket_dir().join(name)
}
