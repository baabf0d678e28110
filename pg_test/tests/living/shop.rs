//! The database of `docs/tenants.md`: its roles, and its table of invoices of two tenants.

use pg_test::cluster::Options;
use pg_test::documents::Page;
use pg_test::{Cluster, offline};
use postgres::Client;

pub const A: &str = "11111111-1111-1111-1111-111111111111";
pub const B: &str = "22222222-2222-2222-2222-222222222222";

pub struct Shop {
    pub cluster: Cluster,
}

impl Shop {
    /// With the roles of the document, and nothing else.
    pub fn with_roles(options: Options) -> Self {
        let cluster = options.start();
        cluster.create_database("shop", "UTF8");
        let shop = Self { cluster };
        shop.client("postgres").batch_execute("CREATE EXTENSION pg_jwks").expect("the extension");
        shop.section("Living with row security");
        shop
    }

    /// With the table and its rows too.
    pub fn new(options: Options) -> Self {
        let shop = Self::with_roles(options);
        shop.section("Migrations");
        shop.section("Seeds");
        shop
    }

    pub fn client(&self, role: &str) -> Client {
        self.cluster.connect(role, "shop")
    }

    /// Runs the blocks of a section, each as the role that its first line names; what psql printed for the last.
    #[track_caller]
    pub fn section(&self, heading: &str) -> String {
        let blocks = Page::of_repository("docs/tenants.md").blocks(heading, "sql");
        assert!(!blocks.is_empty(), "{heading} has no block");
        let blocks = blocks.iter().filter(|block| !block.starts_with("-- as worker, with pg_cron"));
        blocks.map(|block| self.block(block)).last().expect("a block")
    }

    #[track_caller]
    pub fn block(&self, block: &str) -> String {
        let role = block.strip_prefix("-- as ").expect("a block says as whom it runs");
        let role = role.split([',', '\n']).next().expect("a role");
        let path = self.cluster.write_file("block.sql", block);
        let output = self.cluster.run_sql_file(role, "shop", path).unwrap_or_else(|output| panic!("{block}\n{output}"));
        // Settings of ALTER SYSTEM reach new sessions once the server has reloaded them.
        if block.contains("pg_reload_conf") {
            self.cluster.reload();
        }
        output
    }

    /// Runs the commands of a section, in a folder of their own; the error is what they said.
    pub fn commands(&self, commands: &str) -> Result<(), String> {
        let mut command = self.cluster.shell(commands);
        let output = command.current_dir(self.cluster.socket_dir()).output().expect("a shell");
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The first column of a query as text, as a superuser.
    #[track_caller]
    pub fn all(&self, query: &str) -> Vec<String> {
        column(&mut self.client("postgres"), query)
    }
}

/// The first column of a query, as text.
#[track_caller]
pub fn column(client: &mut Client, query: &str) -> Vec<String> {
    let query = format!("SELECT q.value::text FROM ({query}) AS q (value)");
    let rows = client.query(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

pub fn options() -> Options {
    offline::options().setting("shared_preload_libraries", "pg_jwks")
}

/// Makes a user of this tenant the session's identity, with a token.
pub fn log_in(client: &mut Client, sub: &str, tenant: &str) {
    let token = offline::token_with(&serde_json::json!({ "sub": sub, "tenant_id": tenant }));
    client.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect("a good token");
}
