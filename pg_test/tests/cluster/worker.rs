//! The worker, or a backend, dies: keys come back, and nobody is stranded.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use pg_test::app::App;
use pg_test::login::{accepted, init, token, unavailable};
use pg_test::process::signal;
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, Fault, Issuer, SigningKey};

use crate::server::{last_error, preloaded, recovered, refresh, started, worker_pid};

/// The server whose processes are killed, for one test at a time.
fn server() -> MutexGuard<'static, Cluster> {
    static SERVER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| Mutex::new(started(preloaded())));
    let server = SERVER.lock();
    recovered(&server);
    server
}

fn issuer(key: &SigningKey) -> Issuer {
    let issuer = Issuer::start();
    issuer.publish(&[key]);
    issuer
}

fn another_worker(cluster: &Cluster, than: i32) -> i32 {
    eventually("another worker", || Some(worker_pid(cluster)).filter(|pid| *pid != than))
}

fn has_crashed(log: &str) -> bool {
    log.contains("was terminated by signal") || log.contains("terminating any other active server processes")
}

#[test]
fn a_worker_that_ends_is_started_again_and_the_server_goes_on() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    let app = App::of(&cluster, &issuer, &[]);
    let mut session = app.connect();
    accepted(&mut session, &token(&key, issuer.url()));
    let requests = issuer.requests();
    let mark = cluster.log_mark();
    let worker = worker_pid(&cluster);
    let mut admin = app.admin();
    signal(worker, libc::SIGTERM);
    accepted(&mut session, &token(&key, issuer.url()));
    assert_eq!(issuer.requests(), requests, "the keys stayed in shared memory");
    refresh(&mut admin).expect("the new worker fetches");
    another_worker(&cluster, worker);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    assert_eq!(issuer.requests().jwks, requests.jwks + 1);
    assert!(!has_crashed(&cluster.log_since(mark)));
}

#[test]
fn a_worker_that_ends_in_the_middle_of_a_fetch_strands_nobody() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "k");
    let mark = cluster.log_mark();
    // Several times, because a process ends here while threads of it run.
    for _ in 0..4 {
        let issuer = issuer(&key);
        issuer.set_fault(Fault::Hang);
        let app = App::of(&cluster, &issuer, &[]);
        thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..5).map(|_| scope.spawn(|| accepted(&mut app.connect(), &token(&key, issuer.url())))).collect();
            eventually("a request", || (issuer.requests().discovery > 0).then_some(()));
            signal(worker_pid(&cluster), libc::SIGTERM);
            thread::sleep(Duration::from_millis(50));
            issuer.set_fault(Fault::None);
            waiting.into_iter().for_each(|thread| thread.join().expect("the next worker answers"));
        });
    }
    assert!(!has_crashed(&cluster.log_since(mark)), "{}", cluster.log_since(mark));
}

#[test]
fn a_worker_that_crashes_takes_no_keys_and_no_counters_along() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    let app = App::of(&cluster, &issuer, &[]);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    let accepted_tokens = || -> i64 {
        cluster.client().query_one("SELECT accepted FROM auth.jwt_stats", &[]).expect("auth.jwt_stats").get(0)
    };
    let before = accepted_tokens();
    assert!(before > 0);
    let mark = cluster.log_mark();
    signal(worker_pid(&cluster), libc::SIGSEGV);
    eventually("the crash", || has_crashed(&cluster.log_since(mark)).then_some(()));
    recovered(&cluster);
    assert_eq!(accepted_tokens(), before, "counters outlive the crash");
    // The keys are those on disk: the issuer does not answer.
    issuer.set_fault(Fault::Hang);
    app.set("jwks_max_stale", "1h");
    accepted(&mut app.connect(), &token(&key, issuer.url()));
}

#[test]
fn a_backend_killed_while_it_waits_takes_no_keys_along() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer(&key);
    issuer.set_fault(Fault::Hang);
    let app = App::of(&cluster, &issuer, &[]);
    let mark = cluster.log_mark();
    let mut session = app.connect();
    let backend: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| session.execute("SELECT auth.jwt_session_init($1)", &[&token(&key, issuer.url())]));
        eventually("a request", || (issuer.requests().discovery > 0).then_some(()));
        signal(backend, libc::SIGKILL);
        waiting.join().expect("no panic").expect_err("the connection is gone");
    });
    eventually("the crash", || has_crashed(&cluster.log_since(mark)).then_some(()));
    issuer.set_fault(Fault::None);
    recovered(&cluster);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    worker_pid(&cluster);
}

#[test]
fn a_worker_that_is_stopped_delays_each_session_once_and_good_keys_stay() {
    let cluster = server();
    let key = SigningKey::generate(Alg::Es256, "k");
    let (known, unknown) = (issuer(&key), issuer(&key));
    let settings: &[(&str, &str)] = &[("fetch_timeout", "300ms"), ("jwks_cache_ttl", "1s")];
    let app = App::of(&cluster, &known, settings);
    let stranger = App::of(&cluster, &unknown, settings);
    let mut session = app.connect();
    accepted(&mut session, &token(&key, known.url()));
    let worker = worker_pid(&cluster);
    signal(worker, libc::SIGSTOP);
    thread::sleep(Duration::from_millis(1500));
    // The keys have expired and nobody can fetch newer ones: they serve, after one wait in vain.
    let begun = Instant::now();
    accepted(&mut session, &token(&key, known.url()));
    let first = begun.elapsed();
    let begun = Instant::now();
    accepted(&mut session, &token(&key, known.url()));
    let second = begun.elapsed();
    assert!(first < Duration::from_millis(1500) && second < Duration::from_millis(200), "{first:?}, {second:?}");
    unavailable(&mut stranger.connect(), &token(&key, unknown.url()), "did not answer");
    signal(worker, libc::SIGCONT);
    eventually("the worker", || init(&mut stranger.connect(), &token(&key, unknown.url())).ok());
    assert_eq!(worker_pid(&cluster), worker);
}

#[test]
fn settings_that_change_in_the_middle_of_a_fetch_take_effect_at_once() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let (former, latter) = (issuer(&key), issuer(&key));
    former.set_fault(Fault::Hang);
    let cluster = started(preloaded());
    let mut admin = cluster.client();
    admin.batch_execute("CREATE ROLE app LOGIN").expect("CREATE ROLE");
    let trust = |admin: &mut postgres::Client, issuer: &Issuer| {
        admin.batch_execute(&format!("ALTER SYSTEM SET pg_jwks.issuer = '{}'", issuer.url())).expect("ALTER SYSTEM");
        cluster.reload();
    };
    trust(&mut admin, &former);
    eventually("a request", || (former.requests().discovery > 0).then_some(()));
    trust(&mut admin, &latter);
    eventually("the fetch for the new settings", || (latter.requests().jwks > 0).then_some(()));
    let begun = Instant::now();
    accepted(&mut cluster.connect("app", "postgres"), &token(&key, latter.url()));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    former.set_fault(Fault::None);
    let error = init(&mut cluster.connect("app", "postgres"), &token(&key, former.url())).expect_err("not trusted");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT rejected: issuer not accepted"));
    assert_eq!(last_error(&mut admin, latter.url()), (None, 1));
}
