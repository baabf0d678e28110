//! A server with the extension, and nothing set.

use std::sync::LazyLock;

use pg_test::Cluster;
use postgres::Client;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::start();
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks").expect("CREATE EXTENSION");
    cluster
});

/// A superuser's session that has loaded the library.
pub fn session() -> Client {
    let mut client = CLUSTER.client();
    client.batch_execute("LOAD 'pg_jwks'").expect("LOAD");
    client
}

/// The first column.
pub fn strings(client: &mut Client, query: &str) -> Vec<String> {
    client.query(query, &[]).expect(query).iter().map(|row| row.get(0)).collect()
}

/// A session of a new role in a new database of its own.
pub fn database_of(role: &str, database: &str) -> Client {
    let mut admin = CLUSTER.client();
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN")).expect("CREATE ROLE");
    admin.batch_execute(&format!("CREATE DATABASE {database} OWNER {role}")).expect("CREATE DATABASE");
    CLUSTER.connect(role, database)
}
