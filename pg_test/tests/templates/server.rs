//! The server that the tests share, and how a template comes into a database of it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pg_test::offline::{self, ISSUER, KEY};
use pg_test::{Cluster, claims_with};
use postgres::Client;
use serde_json::Value;

use pg_test::parallel::{self, PARALLEL};
pub use pg_test::sql::{refused, run};

use crate::access::{Actor, Template};

static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = started();
    // The owner of the databases, whose own sessions are tested too, and the role that the application connects as.
    let mut setup = String::from(
        "CREATE ROLE app NOLOGIN;
         CREATE ROLE other LOGIN;
         CREATE ROLE proprietor LOGIN IN ROLE app;
         CREATE ROLE service LOGIN IN ROLE app;",
    );
    for setting in ["tenant_claim", "tenant_lookup"] {
        setup.push_str(&format!("GRANT SET ON PARAMETER pg_jwks.{setting} TO proprietor;"));
    }
    run(&mut cluster.client(), &setup);
    cluster
});

/// A server that trusts the tests' issuer, and nothing in it.
pub fn started() -> Cluster {
    offline::options().setting("pg_jwks.leeway", "0").for_many_tests().start()
}

/// The file of a template.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rls_examples").join(format!("{name}.sql"))
}

/// A database with one template.
pub struct Database {
    name: String,
}

impl Database {
    /// Runs the file of the template in a new database, as the owner of that.
    pub fn new(template: &Template, purpose: &str) -> Self {
        let name = format!("{}_{purpose}", template.name);
        run(&mut SERVER.client(), &format!("CREATE DATABASE {name} OWNER proprietor"));
        let output = SERVER.run_sql_file("proprietor", &name, file(template.name));
        output.unwrap_or_else(|output| panic!("{}: {output}", template.name));
        Self { name }
    }

    /// A session of the role that the application connects as: it owns nothing and is no superuser.
    pub fn service(&self) -> Client {
        self.session("service")
    }

    /// A session of the owner of the tables.
    pub fn owner(&self) -> Client {
        self.session("proprietor")
    }

    /// A session of the superuser.
    pub fn superuser(&self) -> Client {
        self.session("postgres")
    }

    /// A session of a role.
    pub fn session(&self, role: &str) -> Client {
        SERVER.connect(role, &self.name)
    }
}

/// Makes parallel workers do what they can, even if the tables are small.
pub fn force_parallel(client: &mut Client) {
    run(client, PARALLEL);
    run(client, parallel::force(&SERVER));
}

/// A token of the actor, until then.
fn token(actor: &Actor, end: Option<i64>) -> String {
    let own: Value = serde_json::from_str(actor.claims).expect("claims");
    let mut all = claims_with(ISSUER, actor.name, &own);
    if let Some(end) = end {
        all["exp"] = end.into();
    }
    KEY.sign(&all)
}

/// Hands over a token that is refused, after one of the actor's that is not.
pub fn sign_in_refused(client: &mut Client, actor: &Actor) {
    sign_in(client, actor);
    client.execute("SELECT auth.jwt_session_init('garbage')", &[]).expect_err("garbage");
}

/// Makes the actor the identity of the session.
pub fn sign_in(client: &mut Client, actor: &Actor) {
    sign_in_until(client, actor, None);
}

/// The same, with an end in seconds since 1970.
pub fn sign_in_until(client: &mut Client, actor: &Actor, end: Option<i64>) {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token(actor, end)]).expect("a good token");
    run(client, actor.then);
}

/// Makes the actor the identity of the transaction, as behind a transaction pooler.
pub fn sign_in_locally(client: &mut Client, actor: &Actor) {
    client.execute("SELECT auth.jwt_session_init($1, true)", &[&token(actor, None)]).expect("a good token");
    run(client, actor.then);
}

/// Takes the identity away.
pub fn sign_out(client: &mut Client) {
    run(client, "SELECT auth.jwt_session_clear()");
}

/// The first column of a query, in order.
#[track_caller]
pub fn texts(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let mut texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    texts.sort();
    texts
}

/// What `auth.rls_lint` finds in the database, besides what is meant.
pub fn lint(client: &mut Client) -> Vec<String> {
    texts(client, "SELECT lint::text FROM auth.rls_lint() lint WHERE accepted IS NULL")
}
