//! A server that stops does not wait for a login that waits for keys.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::backend::pid;
use pg_test::login::init;
use pg_test::wait::promptly;
use pg_test::{Cluster, process};

use crate::waiting::{HangingIssuer, no_crash};

/// Sends the postmaster a signal while a backend waits for keys, and returns how long that backend lived on.
fn backend_outlives(cluster: &Cluster, signal: i32) -> Duration {
    let hanging = HangingIssuer::new();
    let mut client = cluster.client();
    let backend = pid(&mut client);
    let settings = format!(
        "LOAD 'pg_jwks'; SET pg_jwks.issuer = '{}'; SET pg_jwks.fetch_timeout = '30s'; \
         SET pg_jwks.audience = 'app'; SET pg_jwks.allow_insecure_http = on",
        hanging.issuer.url()
    );
    client.batch_execute(&settings).expect("SET");
    let token = hanging.token();
    let login = std::thread::spawn(move || init_outcome(client, &token));
    while hanging.issuer.requests().discovery == 0 {
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(50));
    let start = Instant::now();
    process::signal(cluster.postmaster_pid(), signal);
    while runs(backend) {
        assert!(start.elapsed() < Duration::from_secs(20), "the backend stays");
        sleep(Duration::from_millis(1));
    }
    let time = start.elapsed();
    login.join().expect("the login's thread");
    time
}

/// Whether a process has not ended. One that has stays in /proc until its parent takes note.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some(Some('Z' | 'X')))
}

fn init_outcome(mut client: postgres::Client, token: &str) {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect_err("the server stops");
}

#[test]
fn a_stopping_server_interrupts_a_fetch() {
    let cluster = Cluster::start();
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks").expect("CREATE EXTENSION");
    for (what, signal) in [
        ("fast shutdown", libc::SIGINT),
        ("immediate shutdown", libc::SIGQUIT),
        ("death of the postmaster", libc::SIGKILL),
    ] {
        promptly(what, || {
            let time = backend_outlives(&cluster, signal);
            cluster.stop();
            // After a crash, the last processes of the former server may take a moment to end.
            sleep(Duration::from_millis(300));
            cluster.restart();
            time
        });
    }
    no_crash(&cluster);
    let error = init(&mut cluster.client(), "").expect_err("works again");
    assert_eq!(error.sqlstate, "22023");
}
