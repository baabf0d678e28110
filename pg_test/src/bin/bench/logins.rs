//! New sessions over TCP: with a token, beside what else a server can ask for.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::{Credentials, RawClient};
use serde_json::json;

use crate::report::{Table, Target, duration, ratio};
use crate::server::{SUB, Server};

/// Logins of each kind one after another; the kinds take turns.
const LOGINS: usize = 500;
const CLIENTS: usize = 8;
/// How long clients log in at once with each kind, in each round.
const BLOCK: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 4;

const PASSWORD: &str = "correct horse battery staple";

struct Kind<'a> {
    label: &'static str,
    db: &'static str,
    credentials: Credentials<'a>,
}

/// What the logins of a kind took.
struct Sample {
    times: Vec<Duration>,
    /// For how long somebody logged in.
    elapsed: Duration,
    /// The processor time of the server's processes.
    processor: Duration,
}

impl Sample {
    const EMPTY: Self = Self { times: Vec::new(), elapsed: Duration::ZERO, processor: Duration::ZERO };

    fn quantile(&mut self, part: f64) -> f64 {
        self.times.sort_unstable();
        let last = self.times.len() - 1;
        self.times[(part * last as f64).round() as usize].as_nanos() as f64
    }

    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Logs in again and again, on PostgreSQL 18 and later.
pub fn run(server: &Server) -> Vec<Target> {
    if server.cluster().major_version() < 18 {
        println!("\nLogins: PostgreSQL has OAuth from version 18 on");
        return Vec::new();
    }
    prepare(server);
    let mut claims = server.claims(0);
    claims["scope"] = json!("login");
    let token = server.keys()[0].sign(&claims);
    let kinds = [
        Kind { label: "trust", db: "by_trust", credentials: Credentials::None },
        Kind { label: "scram-sha-256", db: "by_password", credentials: Credentials::Password(PASSWORD) },
        Kind { label: "oauth, pg_jwks", db: "by_token", credentials: Credentials::Bearer(&token) },
    ];
    for kind in &kinds {
        (0..20).for_each(|_| {
            log_in(server, kind);
        });
    }
    let before = server.issuer_requests();
    let targets = [
        ("one after another", one_after_another(server, &kinds), LABELS[0]),
        ("from 8 clients", from_many_clients(server, &kinds), LABELS[1]),
    ]
    .into_iter()
    .flat_map(|(title, samples, labels)| print(title, &kinds, samples, labels));
    let targets = targets.collect();
    let requests = server.issuer_requests() - before;
    println!("  Requests that the issuer saw meanwhile: {requests}");
    targets
}

/// What the targets compare.
const LABELS: [[&str; 2]; 2] = [
    [
        "the median login with a token, to one with trust; one after another",
        "logins a second with scram-sha-256, to those with a token; one after another",
    ],
    [
        "the median login with a token, to one with trust; from 8 clients",
        "logins a second with scram-sha-256, to those with a token; from 8 clients",
    ],
];

fn prepare(server: &Server) {
    let cluster = server.cluster();
    let mut admin = server.superuser();
    for statement in [
        &format!("CREATE ROLE \"{SUB}\" LOGIN PASSWORD '{PASSWORD}'"),
        "CREATE DATABASE by_trust",
        "CREATE DATABASE by_password",
        "CREATE DATABASE by_token",
        "ALTER SYSTEM SET oauth_validator_libraries = 'pg_jwks'",
    ] {
        admin.batch_execute(statement).expect(statement);
    }
    let issuer = server.issuer_url();
    let hba = format!(
        "host by_token all all oauth issuer=\"{issuer}\" scope=\"login\"\n\
         host by_password all all scram-sha-256\n\
         host all all all trust\n"
    );
    cluster.write_file("pg_hba.conf", &hba);
    cluster.reload();
    let deadline = Instant::now() + Duration::from_secs(20);
    // The server takes note a moment later.
    while RawClient::connect(cluster, SUB, "by_password", Credentials::Password("wrong")).is_ok() {
        assert!(Instant::now() < deadline, "the server does not reload");
        thread::sleep(Duration::from_millis(20));
    }
}

fn log_in(server: &Server, kind: &Kind) -> Duration {
    let begun = Instant::now();
    let session = RawClient::connect(server.cluster(), SUB, kind.db, kind.credentials)
        .unwrap_or_else(|error| panic!("{}: {error:?}", kind.label));
    let took = begun.elapsed();
    drop(session);
    took
}

fn one_after_another(server: &Server, kinds: &[Kind; 3]) -> [Sample; 3] {
    let mut samples = [const { Sample::EMPTY }; 3];
    for _ in 0..LOGINS {
        for (kind, sample) in kinds.iter().zip(&mut samples) {
            let took = log_in(server, kind);
            sample.times.push(took);
            sample.elapsed += took;
        }
    }
    samples
}

fn from_many_clients(server: &Server, kinds: &[Kind; 3]) -> [Sample; 3] {
    let mut samples = [const { Sample::EMPTY }; 3];
    for _ in 0..ROUNDS {
        for (kind, sample) in kinds.iter().zip(&mut samples) {
            let processor = processor_time_of_children(server.cluster().postmaster_pid());
            let begun = Instant::now();
            let times = thread::scope(|scope| {
                let client = || {
                    let mut times = Vec::new();
                    while begun.elapsed() < BLOCK {
                        times.push(log_in(server, kind));
                    }
                    times
                };
                let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
                clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
            });
            sample.elapsed += begun.elapsed();
            sample.times.extend(times);
            // The last sessions end after their clients.
            thread::sleep(Duration::from_millis(100));
            sample.processor += processor_time_of_children(server.cluster().postmaster_pid()) - processor;
        }
    }
    samples
}

/// The processor time that the ended children of a process have used.
fn processor_time_of_children(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    // cutime and cstime, which proc(5) counts as fields 16 and 17; the name was the second.
    let ticks: u64 = fields.split(' ').skip(13).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    // SAFETY: sysconf takes no pointers.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs(ticks) / u32::try_from(per_second).expect("a small number")
}

fn print(title: &str, kinds: &[Kind; 3], mut samples: [Sample; 3], labels: [&'static str; 2]) -> [Target; 2] {
    // The client's part of SCRAM, 4096 rounds of HMAC-SHA-256, counts: libpq does the same work.
    let title = format!("Logins over TCP, {title}: the same client for all, until the server is ready");
    let mut table = Table::new(title, &["", "p50", "p99", "a second", "p50 to trust", "server's processor"]);
    let [trust, _, oauth] = [0, 1, 2].map(|kind| samples[kind].quantile(0.5));
    for (kind, sample) in kinds.iter().zip(&mut samples) {
        let (median, slow) = (sample.quantile(0.5), sample.quantile(0.99));
        table.line([
            kind.label.to_owned(),
            duration(median),
            duration(slow),
            format!("{:.0}", sample.per_second()),
            ratio(median / trust),
            match sample.processor {
                Duration::ZERO => "-".to_owned(),
                processor => duration(processor.as_nanos() as f64 / sample.times.len() as f64),
            },
        ]);
    }
    table.print();
    [
        Target::new(labels[0], oauth / trust, 1.3),
        Target::new(labels[1], samples[1].per_second() / samples[2].per_second(), 1.0),
    ]
}
