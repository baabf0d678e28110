//! The server and the issuer that everything is measured on.

use pg_test::{Alg, Cluster, Issuer, SigningKey, claims};
use postgres::{Client, NoTls};
use serde_json::{Value, json};

/// The user of the measured sessions.
pub const SUB: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

/// A server, and an issuer whose keys it trusts.
pub struct Server {
    cluster: Cluster,
    issuer: Issuer,
    keys: [SigningKey; 3],
}

impl Server {
    /// Starts both.
    pub fn start() -> Self {
        let issuer = Issuer::start();
        let keys = [Alg::Rs256, Alg::Es256, Alg::EdDsa].map(|alg| SigningKey::generate(alg, alg.name()));
        issuer.publish(&keys.each_ref());
        let cluster = cluster(&issuer, "pg_jwks");
        Self { cluster, issuer, keys }
    }

    /// Another server that trusts the same issuer and loads the extension's library only when it is needed.
    pub fn not_preloaded(&self) -> Cluster {
        cluster(&self.issuer, "")
    }

    /// The server itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its version.
    pub fn version(&self) -> String {
        self.show("server_version")
    }

    /// Whether it was built for debugging.
    pub fn has_assertions(&self) -> bool {
        self.show("debug_assertions") == "on"
    }

    fn show(&self, setting: &str) -> String {
        self.superuser().query_one(&format!("SHOW {setting}"), &[]).expect("SHOW").get(0)
    }

    /// A session of the superuser over TCP.
    pub fn superuser(&self) -> Client {
        self.cluster.client()
    }

    /// A session of the superuser over the Unix socket.
    pub fn over_unix_socket(&self) -> Client {
        let mut config = postgres::Config::new();
        config.host_path(self.cluster.socket_dir()).port(self.cluster.port()).user("postgres").dbname("postgres");
        config.connect(NoTls).expect("a connection over the Unix socket")
    }

    /// The name of the issuer.
    pub fn issuer_url(&self) -> &str {
        self.issuer.url()
    }

    /// How many documents the issuer was asked for.
    pub fn issuer_requests(&self) -> usize {
        let requests = self.issuer.requests();
        requests.discovery + requests.jwks
    }

    /// The issuer's keys: RS256 with 2048 bit, ES256 and EdDSA.
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// Claims such as providers issue for [`SUB`]. Those with another `number` make another token.
    pub fn claims(&self, number: usize) -> Value {
        let mut claims = claims(self.issuer.url(), SUB);
        claims["jti"] = json!(format!("{number:032}"));
        claims["role"] = json!("authenticated");
        claims["email"] = json!("alice@example.com");
        claims["scope"] = json!("openid read");
        claims["app_metadata"] = json!({ "plan": SUB });
        claims
    }

    /// A token with these claims, signed with the RSA key.
    pub fn token(&self, number: usize) -> String {
        self.keys[0].sign(&self.claims(number))
    }
}

fn cluster(issuer: &Issuer, preload: &str) -> Cluster {
    let cluster = Cluster::options()
        .with_pam_services_if_possible()
        .setting("shared_preload_libraries", preload)
        .setting("pg_jwks.issuer", issuer.url())
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("jit", "off")
        .setting("max_parallel_workers_per_gather", "0")
        // A sequential scan keeps a table in the buffers only where it is smaller than a quarter of them.
        .setting("shared_buffers", "1GB")
        .setting("synchronize_seqscans", "off")
        .setting("autovacuum", "off")
        .setting("max_wal_size", "8GB")
        .start();
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks").expect("CREATE EXTENSION");
    cluster
}
