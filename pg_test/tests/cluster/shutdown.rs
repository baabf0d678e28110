//! The worker stops promptly with the server, however that is stopped.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::app::App;
use pg_test::login::{accepted, token};
use pg_test::process::signal;
use pg_test::wait::eventually;
use pg_test::{Alg, Fault, Issuer, SigningKey};

use crate::server::{preloaded, recovered, started, worker_pid};

fn is_running(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_worker_ends_promptly_with_the_server_however_that_ends() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let cluster = started(preloaded().setting("pg_jwks.issuer", issuer.url()).setting("pg_jwks.fetch_timeout", "60s"));
    let app = App::new(&cluster, &[]);
    for (name, mode) in [("smart", libc::SIGTERM), ("fast", libc::SIGINT), ("immediate", libc::SIGQUIT)] {
        // A fetch with which the worker began may hang as well: it counts.
        issuer.reset_requests();
        accepted(&mut app.connect(), &token(&key, issuer.url()));
        issuer.set_fault(Fault::Hang);
        let mut admin = app.admin();
        let asking = thread::spawn(move || admin.execute("SELECT auth.jwks_refresh()", &[]));
        eventually("a request", || (issuer.requests().discovery > 0).then_some(()));
        let (worker, postmaster) = (worker_pid(&cluster), cluster.postmaster_pid());
        if name == "smart" {
            // A smart shutdown waits for sessions.
            cluster
                .client()
                .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%jwks_refresh%' AND pid <> pg_backend_pid()", &[])
                .expect("terminated");
        }
        let begun = Instant::now();
        signal(postmaster, mode);
        eventually("the end", || (!is_running(postmaster) && !is_running(worker)).then_some(()));
        let after = begun.elapsed();
        println!("{name} shutdown during a fetch: {after:?}");
        assert!(after < Duration::from_secs(3), "{name}: {after:?}");
        asking.join().expect("no panic").expect_err("the server has gone");
        issuer.set_fault(Fault::None);
        cluster.restart();
        recovered(&cluster);
    }
    let log = cluster.log();
    assert!(!log.contains("was terminated by signal"), "{log}");
    // And when the postmaster is gone.
    let worker = worker_pid(&cluster);
    signal(cluster.postmaster_pid(), libc::SIGKILL);
    eventually("the end of the worker", || (!is_running(worker)).then_some(()));
}
