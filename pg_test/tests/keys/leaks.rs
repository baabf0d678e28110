//! Fetches that nobody waits for any more end, and leave nothing behind.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED, assignment};
use pg_test::backend::pid;
use pg_test::login::{accepted, init, token};
use pg_test::{Alg, Fault, Issuer, SigningKey};
use postgres::Client;

/// The threads and the open files of a process.
fn resources(pid: i32) -> (usize, usize) {
    let count = |what| fs::read_dir(format!("/proc/{pid}/{what}")).expect("/proc").count();
    (count("task"), count("fd"))
}

/// A login that is cancelled while it waits.
fn cancelled(client: &mut Client, token: &str) {
    let error = init(client, token).expect_err("cancelled");
    assert_eq!(error.sqlstate, "57014", "{error:?}");
}

fn threads_come_back_to(pid: i32, before: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while resources(pid).0 != before {
        assert!(Instant::now() < deadline, "{before} threads before, {} now", resources(pid).0);
        sleep(Duration::from_millis(50));
    }
}

/// The server itself opens a file now and then.
fn no_files_are_left(pid: i32, before: usize) {
    let files = resources(pid).1;
    assert!(files <= before + 5, "{before} files before, {files} now");
}

#[test]
fn cancelled_waits_for_one_fetch_leave_no_thread_and_no_file() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("fetch_timeout", "2s")]).connect();
    accepted(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()));
    let pid = pid(&mut client);
    init(&mut client, "").expect_err("loads the library");
    let before = resources(pid);
    issuer.set_fault(Fault::Hang);
    issuer.reset_requests();
    client.batch_execute("SET statement_timeout = '20ms'").expect("SET");
    for _ in 0..50 {
        cancelled(&mut client, &token(&key, issuer.url()));
    }
    let (threads, _) = resources(pid);
    assert!(threads <= before.0 + 2, "cancelled waits share one fetch: {threads} threads");
    assert_eq!(issuer.requests().discovery, 1);
    threads_come_back_to(pid, before.0);
    client.batch_execute("SET statement_timeout = 0").expect("SET");
    issuer.set_fault(Fault::None);
    // The fetch has failed, so the next one waits a second.
    sleep(Duration::from_millis(1100));
    accepted(&mut client, &token(&key, issuer.url()));
    no_files_are_left(pid, before.1);
}

#[test]
fn fifty_cancelled_fetches_leave_no_thread_and_no_file() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = NOT_PRELOADED.client();
    client.batch_execute(&format!("LOAD 'pg_jwks'; SET {}", assignment("issuer", issuer.url()))).expect("SET");
    let pid = pid(&mut client);
    init(&mut client, &token(&key, issuer.url())).expect("a good token");
    // The thread that fetched may end a moment after the login.
    threads_come_back_to(pid, 1);
    let before = resources(pid);
    issuer.set_fault(Fault::Hang);
    issuer.reset_requests();
    for attempt in 0..50 {
        // Other network settings are another source of keys, so each fetch is one of its own.
        let set = format!("SET pg_jwks.fetch_timeout = {}; SET statement_timeout = '20ms'", 2500 + attempt);
        client.batch_execute(&set).expect("SET");
        cancelled(&mut client, &token(&key, issuer.url()));
        client.batch_execute("SET statement_timeout = 0").expect("SET");
    }
    assert!(resources(pid).0 >= before.0 + 40, "fifty fetches at once: {:?}", resources(pid));
    threads_come_back_to(pid, before.0);
    issuer.set_fault(Fault::None);
    client.batch_execute("SET pg_jwks.fetch_timeout = '4s'").expect("SET");
    init(&mut client, &token(&key, issuer.url())).expect("a good token");
    no_files_are_left(pid, before.1);
}
