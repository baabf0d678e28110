//! A hundred thousand users through few connections, with tokens that live for five minutes: nothing grows, and nothing
//! becomes slower.

use std::collections::HashMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pg_test::cluster::PgBouncer;
use pg_test::{Alg, Cluster, Issuer, SigningKey, claims, long, now};
use serde_json::json;

use crate::server::{init, run};

const USERS: u64 = 100_000;
const CLIENTS: u64 = 16;
const CONNECTIONS: usize = 8;
const LIFE: i64 = 300;
/// In KiB; what a process may grow by after its first minute: pages that it had not used yet.
const MOST_GROWTH: u64 = 1024;

/// Throughput is compared if so many minutes are asked for: what else the machine does is even over a long time only.
const LONG_ENOUGH: u32 = 10;

/// The parts of the run, and how long each takes.
fn parts() -> (u32, Duration) {
    let minutes = std::env::var("PG_JWKS_SOAK_MINUTES").ok().map(|minutes| minutes.parse().expect("a number"));
    match (minutes, long::is_asked_for()) {
        (Some(minutes), _) => (minutes, Duration::from_secs(60)),
        (None, true) => (30, Duration::from_secs(60)),
        (None, false) => (3, Duration::from_secs(5)),
    }
}

/// Tokens as clients have them: each until it is about to expire.
struct Tokens<'a> {
    key: &'a SigningKey,
    issuer: &'a str,
    known: Mutex<HashMap<u64, (String, i64)>>,
}

impl Tokens<'_> {
    fn of(&self, user: u64) -> String {
        let now = now();
        if let Some((token, expires)) = self.known.lock().expect("the tokens").get(&user)
            && *expires > now + 30
        {
            return token.clone();
        }
        let mut claims = claims(self.issuer, &format!("user-{user}"));
        claims["exp"] = json!(now + LIFE);
        let token = self.key.sign(&claims);
        self.known.lock().expect("the tokens").insert(user, (token.clone(), now + LIFE));
        token
    }
}

fn server(issuer: &Issuer) -> Cluster {
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.issuer", issuer.url())
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("pg_jwks.session_scope", "transaction")
        .start();
    cluster
        .client()
        .batch_execute(&format!(
            "CREATE EXTENSION pg_jwks; CREATE ROLE app LOGIN;
             CREATE TABLE note (owner text PRIMARY KEY, body text);
             INSERT INTO note SELECT 'user-' || n, 'x' FROM generate_series(0, {USERS} - 1) n;
             ALTER TABLE note ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON note USING (owner = auth.user_id());
             GRANT SELECT ON note TO app; ANALYZE note"
        ))
        .expect("the schema");
    cluster
}

/// Reads users' rows until the end comes.
fn work(bouncer: &PgBouncer, tokens: &Tokens, seed: u64, done: &AtomicU64, end: &AtomicBool) {
    let mut client = bouncer.connect("postgres");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
    while !end.load(Ordering::Relaxed) {
        // xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let user = random % USERS;
        run(&mut client, "BEGIN");
        init(&mut client, &tokens.of(user), true).expect("a good token");
        let rows = client.query_typed("SELECT owner FROM note", &[]).expect("a query");
        let owners: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(owners, [format!("user-{user}")]);
        run(&mut client, "COMMIT");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The memory that the worker and the backends of the pool have for themselves, in KiB, by process.
fn memory(cluster: &Cluster) -> HashMap<i32, u64> {
    let query = "SELECT pid FROM pg_stat_activity WHERE usename = 'app' OR backend_type = 'pg_jwks keys'";
    let rows = cluster.client().query(query, &[]).expect("pg_stat_activity");
    let private = |pid: i32| -> u64 {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process of the server");
        let lines = maps.lines().filter_map(|line| line.strip_prefix("Private_Dirty:"));
        lines.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")).sum()
    };
    rows.iter().map(|row| row.get(0)).map(|pid| (pid, private(pid))).collect()
}

#[test]
fn memory_and_throughput_stay_as_they_are() {
    let issuer = Issuer::start();
    let key = SigningKey::generate(Alg::EdDsa, "k");
    issuer.publish(&[&key]);
    let cluster = server(&issuer);
    let settings =
        format!("pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\nmax_db_connections = {CONNECTIONS}");
    let bouncer = cluster.pgbouncer("app", &settings);
    let tokens = Tokens { key: &key, issuer: issuer.url(), known: Mutex::default() };
    let (done, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let (parts, length) = parts();
    let mut transactions = Vec::new();
    let mut memories = Vec::new();
    thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let (bouncer, tokens, done, end) = (&bouncer, &tokens, &done, &end);
            scope.spawn(move || work(bouncer, tokens, seed, done, end));
        }
        for _ in 0..parts {
            let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
            thread::sleep(length);
            let count = done.load(Ordering::Relaxed) - before;
            transactions.push(count as f64 / begun.elapsed().as_secs_f64());
            memories.push(memory(&cluster));
        }
        end.store(true, Ordering::Relaxed);
    });
    println!(
        "transactions a second: {transactions:.0?}\nfirst {:?}\nlast {:?}",
        memories[0],
        memories[memories.len() - 1]
    );
    let (first, last) = (&memories[0], &memories[memories.len() - 1]);
    assert_eq!(first.len(), CONNECTIONS + 1, "the worker and the pool");
    for (pid, size) in last {
        let before = first.get(pid).expect("no process was replaced");
        assert!(*size <= before + MOST_GROWTH, "process {pid} grew from {before} to {size} KiB");
    }
    let change = transactions[transactions.len() - 1] / transactions[0];
    assert!(parts < LONG_ENOUGH || change > 0.95, "throughput fell to {change:.3} of the first minute");
}
