//! Sessions that lose their identity, and how a test makes them.

use std::sync::LazyLock;

use pg_test::cluster::Options;
use pg_test::login::unique;
use pg_test::parallel::BIG;
use pg_test::wait::eventually;
use pg_test::{Cluster, PgError, offline};
use postgres::Client;

pub use pg_test::login::init;
pub use pg_test::offline::{ISSUER, KEY, token, token_with};
pub use pg_test::sql::{refused, run, value};

/// The server whose settings stay as they are.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| started(options()));

/// A server that trusts [`ISSUER`].
pub fn options() -> Options {
    offline::options().for_many_tests()
}

/// Starts a server whose databases have the extension, roles, and tables that show each user their own rows.
pub fn started(options: Options) -> Cluster {
    let cluster = options.start();
    let mut template = cluster.connect("postgres", "template1");
    run(
        &mut template,
        "CREATE EXTENSION pg_jwks;
         CREATE ROLE app LOGIN; CREATE ROLE other LOGIN;
         GRANT ALL ON SCHEMA public TO app;
         CREATE TABLE note (id int PRIMARY KEY, owner text);
         INSERT INTO note VALUES (1, 'alice'), (2, 'bob'), (3, 'alice');
         ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON note USING (owner = auth.user_id());
         CREATE TABLE wrapped AS TABLE note;
         ALTER TABLE wrapped ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON wrapped USING (owner = (SELECT auth.user_id()));
         GRANT ALL ON note, wrapped TO PUBLIC;",
    );
    run(&mut template, BIG);
    drop(template);
    run(&mut cluster.client(), "CREATE DATABASE app");
    cluster
}

/// A session of the superuser in the database `app`.
pub fn admin(cluster: &Cluster) -> Client {
    cluster.connect("postgres", "app")
}

/// A database of its own on the shared server.
pub struct Database(&'static str);

impl Database {
    pub fn new(name: &'static str) -> Self {
        run(&mut SERVER.client(), &format!("CREATE DATABASE {name}"));
        Self(name)
    }

    /// A session of role `app`, which owns nothing and is no superuser.
    pub fn app(&self) -> Client {
        SERVER.connect("app", self.0)
    }

    /// A session of role `app` that does this with what it is told.
    pub fn app_that_hears(&self, hear: impl Fn(PgError) + Send + Sync + 'static) -> Client {
        let mut config = SERVER.config();
        config.user("app").dbname(self.0).notice_callback(move |notice| hear(PgError::from(&notice)));
        SERVER.try_connect(&mut config).expect("a session")
    }

    /// A session of this role.
    pub fn session_of(&self, role: &str) -> Client {
        SERVER.connect(role, self.0)
    }

    /// A session of the superuser.
    pub fn superuser(&self) -> Client {
        SERVER.connect("postgres", self.0)
    }
}

/// A session of `app` with the identity of alice.
pub fn alice(session: Client) -> Client {
    with_identity(session, &token("alice"))
}

/// The session with the identity of this token.
#[track_caller]
pub fn with_identity(mut session: Client, token: &str) -> Client {
    init(&mut session, token).expect("a good token");
    session
}

/// The identity does not stand any more, for this reason.
#[track_caller]
pub fn assert_lost(error: &PgError, reason: &str) {
    let message = format!("JWT no longer accepted: {reason}");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", message.as_str()), "{error:?}");
}

/// The next statement that reads is refused, for this reason.
#[track_caller]
pub fn loses(session: &mut Client, reason: &str) {
    assert_lost(&refused(session, "SELECT auth.user_id()"), reason);
    assert_lost(&refused(session, "SELECT owner FROM note"), reason);
}

/// The ids of the notes that the session sees.
#[track_caller]
pub fn notes(session: &mut Client) -> Vec<i32> {
    session.query("SELECT id FROM note ORDER BY id", &[]).expect("notes").iter().map(|row| row.get(0)).collect()
}

/// Changes a setting of the whole server, and waits until this session has it; `None` resets it.
pub fn set_for_all(cluster: &Cluster, session: &mut Client, name: &str, new: Option<&str>) {
    let statement = match new {
        Some(new) => format!("ALTER SYSTEM SET pg_jwks.{name} = '{new}'"),
        None => format!("ALTER SYSTEM RESET pg_jwks.{name}"),
    };
    let mark = format!("change {}", unique());
    // ALTER SYSTEM knows the settings of libraries that are loaded.
    let mut client = cluster.client();
    for statement in ["LOAD 'pg_jwks'", &statement, &format!("ALTER SYSTEM SET application_name = '{mark}'")] {
        run(&mut client, statement);
    }
    cluster.reload();
    eventually("the new setting", || {
        (value::<String>(session, "SELECT current_setting('application_name')") == mark).then_some(())
    });
}
