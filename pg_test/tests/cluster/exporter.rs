//! `docs/prometheus`: the queries with postgres_exporter, and that the rules name metrics that it has.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use pg_test::app::App;
use pg_test::cluster::free_port;
use pg_test::documents::repository;
use pg_test::login::{accepted, init, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, Fault, Issuer, SigningKey};

use crate::server::{preloaded, refresh, started};

struct Exporter {
    child: Child,
    port: u16,
}

impl Exporter {
    fn start(cluster: &Cluster) -> Self {
        let port = free_port();
        let queries = repository().join("docs/prometheus/queries.yaml");
        let url = format!("postgresql://exporter@127.0.0.1:{}/postgres?sslmode=disable", cluster.port());
        let child = Command::new("prometheus-postgres-exporter")
            .arg(format!("--extend.query-path={}", queries.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--disable-default-metrics", "--disable-settings-metrics", "--log.level=error"])
            .env("DATA_SOURCE_NAME", url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-postgres-exporter: pg_test/provision --extensions installs it");
        Self { child, port }
    }

    /// The metrics of the extension, by name and labels.
    fn metrics(&self) -> Option<BTreeMap<String, f64>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let lines = answer.lines().filter(|line| line.starts_with("pg_jwks_"));
        let metrics = lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")));
        Some(metrics.collect())
    }

    /// The one metric whose name and labels have these words.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = eventually("an answer of the exporter", || self.metrics());
        let found: Vec<_> =
            metrics.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(label)).collect();
        let [(_, value)] = found[..] else { panic!("{name} with {label}: {found:?} of {metrics:#?}") };
        *value
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_exporter_reads_the_queries_and_shows_an_outage() {
    let cluster = started(preloaded());
    cluster.client().batch_execute("CREATE ROLE exporter LOGIN IN ROLE pg_monitor").expect("a role");
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(&cluster, &issuer, &[]);
    let mut session = app.connect();
    accepted(&mut session, &token(&key, issuer.url()));
    init(&mut app.connect(), &token(&SigningKey::generate(Alg::Es256, "x"), issuer.url())).expect_err("rejected");
    let exporter = Exporter::start(&cluster);
    let source = issuer.url();
    assert_eq!(exporter.metric("pg_jwks_source_keys", source), 1.0);
    assert_eq!(exporter.metric("pg_jwks_source_unusable_keys", source), 0.0);
    assert_eq!(exporter.metric("pg_jwks_source_failing", source), 0.0);
    assert!(exporter.metric("pg_jwks_source_serves_seconds", source) > 3600.0);
    assert!(exporter.metric("pg_jwks_source_age_seconds", source) < 600.0);
    assert_eq!(exporter.metric("pg_jwks_sessions_open", "origin=\"init\""), 1.0);
    assert_eq!(exporter.metric("pg_jwks_rejections_total", "reason=\"key unknown\""), 1.0);
    assert!(exporter.metric("pg_jwks_tokens_accepted_total", "") >= 1.0);
    issuer.set_fault(Fault::Status(503));
    refresh(&mut app.admin()).expect_err("the fetch fails");
    assert_eq!(exporter.metric("pg_jwks_source_failing", source), 1.0);
    issuer.set_fault(Fault::None);
    refresh(&mut app.admin()).expect("the provider is well again");
    assert_eq!(exporter.metric("pg_jwks_source_failing", source), 0.0);
    each_rule_names_metrics_of(&exporter.metrics().expect("metrics"));
}

fn each_rule_names_metrics_of(metrics: &BTreeMap<String, f64>) {
    let rules = std::fs::read_to_string(repository().join("docs/prometheus/alerts.yaml")).expect("the rules");
    let expressions: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert!(expressions.len() >= 5, "{expressions:?}");
    for expression in expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<_> = words.filter(|word| word.starts_with("pg_jwks_")).collect();
        assert!(!named.is_empty(), "{expression}");
        for name in named {
            assert!(metrics.keys().any(|metric| metric.split('{').next() == Some(name)), "{name} of {expression}");
        }
    }
}
