//! The server that the tests share, and the statements they have in common.

use std::sync::LazyLock;
use std::thread::sleep;
use std::time::Duration;

use pg_test::offline::{self, KEY};
use pg_test::{Cluster, PgError, claims_with, jwks};
use postgres::Client;
use serde_json::{Value, json};

pub use pg_test::offline::ISSUER;
pub use pg_test::sql::{refused, run, value};

/// Another issuer, under the same key.
pub const OTHER_ISSUER: &str = "https://other.test";

/// Users and tenants that are UUIDs.
pub const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
pub const BOB: &str = "b0b00000-0000-4000-8000-000000000002";
pub const CAROL: &str = "ca201000-0000-4000-8000-000000000003";
pub const RED: &str = "7ed00000-0000-4000-8000-00000000000a";
pub const BLUE: &str = "b1000000-0000-4000-8000-00000000000b";

/// Roles `app` and `other` own nothing and are no superusers; `dba` owns what the schemas make.
pub static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let other = json!([{ "issuer": OTHER_ISSUER, "jwks": jwks(&[&KEY]) }]).to_string();
    let cluster = offline::options().setting("pg_jwks.providers", &other).for_many_tests().start();
    cluster
        .connect("postgres", "template1")
        .batch_execute(
            "CREATE EXTENSION pg_jwks; CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; CREATE ROLE dba LOGIN;
             CREATE ROLE mallory LOGIN; GRANT ALL ON SCHEMA public TO dba WITH GRANT OPTION; GRANT CREATE ON SCHEMA public TO mallory",
        )
        .expect("the template");
    cluster
});

/// The default membership table: alice is in red, bob in blue, carol in both; and a table `note` of two rows in each
/// tenant and one in none, under a policy that calls the helper bare. Role `app` has no right on `users`.
pub const USUAL: &str = "
    CREATE TABLE users (id uuid, tenant_id uuid, PRIMARY KEY (id, tenant_id));
    INSERT INTO users VALUES
        ('a11ce000-0000-4000-8000-000000000001', '7ed00000-0000-4000-8000-00000000000a'),
        ('b0b00000-0000-4000-8000-000000000002', 'b1000000-0000-4000-8000-00000000000b'),
        ('ca201000-0000-4000-8000-000000000003', '7ed00000-0000-4000-8000-00000000000a'),
        ('ca201000-0000-4000-8000-000000000003', 'b1000000-0000-4000-8000-00000000000b');
    CREATE TABLE note (id int, tenant_id uuid DEFAULT get_current_user_tenant_id());
    INSERT INTO note VALUES (1, '7ed00000-0000-4000-8000-00000000000a'), (2, 'b1000000-0000-4000-8000-00000000000b'),
        (3, '7ed00000-0000-4000-8000-00000000000a'), (4, 'b1000000-0000-4000-8000-00000000000b'), (5, NULL);
    ALTER TABLE note ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON note USING (tenant_id = get_current_user_tenant_id());
    GRANT ALL ON note TO app, other;";

/// A database of its own.
pub struct Database {
    name: String,
}

impl Database {
    /// A database whose objects `dba` makes.
    pub fn new(name: &str, schema: &str) -> Self {
        SERVER.client().batch_execute(&format!("CREATE DATABASE {name}")).expect("CREATE DATABASE");
        Self::of(name, schema)
    }

    /// A database whose objects the superuser makes.
    pub fn of_superuser(name: &str, schema: &str) -> Self {
        let database = Self::new(name, "");
        run(&mut database.superuser(), schema);
        database
    }

    /// One in another encoding than UTF-8.
    pub fn encoded(name: &str, encoding: &str, schema: &str) -> Self {
        SERVER.create_database(name, encoding);
        let create = "CREATE EXTENSION pg_jwks; GRANT ALL ON SCHEMA public TO dba WITH GRANT OPTION";
        SERVER.connect("postgres", name).batch_execute(create).expect("CREATE EXTENSION");
        Self::of(name, schema)
    }

    fn of(name: &str, schema: &str) -> Self {
        let database = Self { name: name.to_owned() };
        run(&mut database.dba(), schema);
        database
    }

    /// Gives a setting a value in later sessions.
    pub fn set(self, setting: &str, value: &str) -> Self {
        let value = value.replace('\'', "''");
        run(
            &mut self.superuser(),
            &format!("LOAD 'pg_jwks'; ALTER DATABASE {} SET pg_jwks.{setting} = '{value}'", self.name),
        );
        self
    }

    /// A session of role `app`.
    pub fn app(&self) -> Client {
        SERVER.connect("app", &self.name)
    }

    /// A session of the owner of the tables.
    pub fn dba(&self) -> Client {
        SERVER.connect("dba", &self.name)
    }

    /// A session of a role that may create in schema public.
    pub fn mallory(&self) -> Client {
        SERVER.connect("mallory", &self.name)
    }

    /// A session of the superuser.
    pub fn superuser(&self) -> Client {
        SERVER.connect("postgres", &self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A good token with more claims, or others.
pub fn token_with(more: Value) -> String {
    KEY.sign(&claims_with(ISSUER, ALICE, &more))
}

/// A token of these claims alone.
pub fn token_of(claims: &Value) -> String {
    KEY.sign(claims)
}

/// Makes a user with these claims the session's identity.
pub fn init_with(client: &mut Client, more: Value) {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token_with(more)]).expect("a good token is accepted");
}

/// Makes `sub` the session's identity.
pub fn init(client: &mut Client, sub: &str) {
    init_with(client, json!({ "sub": sub }));
}

/// A session of alice, as role `app`.
pub fn alice(database: &Database) -> Client {
    let mut client = database.app();
    init(&mut client, ALICE);
    client
}

/// The current tenant as text.
#[track_caller]
pub fn tenant(client: &mut Client) -> Option<String> {
    value(client, "SELECT auth.tenant_id()")
}

/// All tenants.
#[track_caller]
pub fn tenants(client: &mut Client) -> Option<Vec<String>> {
    value(client, "SELECT auth.tenant_ids()")
}

/// The notes that the policy shows.
#[track_caller]
pub fn notes(client: &mut Client) -> Vec<i32> {
    value::<Option<Vec<i32>>>(client, "SELECT array_agg(id ORDER BY id) FROM note").unwrap_or_default()
}

/// Reads a tenant in every way there is; each must be an error of this SQLSTATE.
#[track_caller]
pub fn all_fail(client: &mut Client, sqlstate: &str) -> PgError {
    let mut last = None;
    for read in ["SELECT auth.tenant_id()", "SELECT get_current_user_tenant_id()", "SELECT id FROM note"] {
        let error = refused(client, read);
        assert_eq!(error.sqlstate, sqlstate, "{read}: {error:?}");
        last = Some(error);
    }
    last.expect("an error")
}

/// The sequential scans and index scans of a table since the statistics were reset, once there are as many as `expected`
/// or a while has passed.
pub fn scans(client: &mut Client, table: &str, expected: i64) -> (i64, i64) {
    let query = "SELECT coalesce(seq_scan, 0), coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = $1";
    for attempt in 1.. {
        let row = client.query_one(query, &[&table]).expect("statistics");
        let scans = (row.get::<_, i64>(0), row.get::<_, i64>(1));
        if scans.0 + scans.1 >= expected || attempt == 50 {
            // What comes late counts as well.
            return scans;
        }
        sleep(Duration::from_millis(100));
    }
    unreachable!("the last attempt returns")
}
