//! A login that waits for keys can be interrupted, and leaves the session sound and without identity.

use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::backend::pid;
use pg_test::login::{accepted, init, sees, token, unavailable};
use pg_test::wait::promptly;
use pg_test::{Alg, Authority, Fault, Issuer, SigningKey, Validity};
use postgres::{Client, NoTls};

use crate::waiting::{HangingIssuer, no_crash, sqlstate};

/// After an interrupted wait: no identity, a session that works, and a later login that succeeds.
fn is_sound(hanging: &HangingIssuer, client: &mut Client) {
    assert!(sees(client).is_empty());
    let id: Option<String> = client.query_one("SELECT auth.user_id()", &[]).expect("SELECT").get(0);
    assert_eq!(id, None);
    hanging.issuer.set_fault(Fault::None);
    accepted(client, &hanging.token());
    no_crash(&NOT_PRELOADED);
}

/// A prompt interruption by `act`, whose error has this SQLSTATE.
fn interrupted(what: &str, expected: &str, act: impl Fn(&mut Client, i32)) {
    promptly(what, || {
        let hanging = HangingIssuer::new();
        let mut admin = NOT_PRELOADED.client();
        let (mut client, error, time) = hanging.while_waiting(hanging.app().connect(), |pid| act(&mut admin, pid));
        assert_eq!(sqlstate(&error).as_deref(), Some(expected), "{error:?}");
        is_sound(&hanging, &mut client);
        time
    });
}

#[test]
fn pg_cancel_backend_interrupts_a_fetch() {
    interrupted("pg_cancel_backend", "57014", |admin, pid| {
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("pg_cancel_backend");
    });
}

#[test]
fn a_cancel_request_interrupts_a_fetch() {
    promptly("cancel request", || {
        let hanging = HangingIssuer::new();
        let client = hanging.app().connect();
        let cancel = client.cancel_token();
        let (mut client, error, time) =
            hanging.while_waiting(client, |_| cancel.cancel_query(NoTls).expect("a cancel request"));
        assert_eq!(sqlstate(&error).as_deref(), Some("57014"), "{error:?}");
        is_sound(&hanging, &mut client);
        time
    });
}

#[test]
fn statement_timeout_interrupts_a_fetch() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    promptly("statement_timeout", || {
        let hanging = HangingIssuer::new();
        let mut client = hanging.app().connect();
        client.batch_execute("SET statement_timeout = '300ms'").expect("SET");
        let start = Instant::now();
        let (mut client, error, _) = hanging.while_waiting(client, |_| ());
        let time = start.elapsed().saturating_sub(TIMEOUT);
        assert_eq!(sqlstate(&error).as_deref(), Some("57014"), "{error:?}");
        assert!(error.to_string().contains("statement timeout") || format!("{error:?}").contains("statement timeout"));
        is_sound(&hanging, &mut client);
        time
    });
}

#[test]
fn pg_terminate_backend_interrupts_a_fetch() {
    promptly("pg_terminate_backend", || {
        let hanging = HangingIssuer::new();
        let app = hanging.app();
        let mut admin = NOT_PRELOADED.client();
        let (mut client, error, time) = hanging.while_waiting(app.connect(), |pid| {
            admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("pg_terminate_backend");
        });
        // The end of the connection can overtake what the server says of it.
        assert!(error.is_closed() || sqlstate(&error).as_deref() == Some("57P01"), "{error:?}");
        client.batch_execute("SELECT 1").expect_err("the session is gone");
        is_sound(&hanging, &mut app.connect());
        time
    });
}

#[test]
fn a_backend_that_ends_amid_tls_does_not_crash() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let authority = Authority::new();
    let issuer = Issuer::start_tls(&authority.issue("localhost", Validity::Valid));
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Hang);
    let roots = NOT_PRELOADED.write_file("amid_tls.pem", &authority.pem());
    let app = App::of(&NOT_PRELOADED, &issuer, &[("ca_file", &roots.to_string_lossy())]);
    let mut admin = NOT_PRELOADED.client();
    for delay in [0, 5, 10, 15, 20, 30, 40, 60] {
        let (mut client, token) = (app.connect(), token(&key, issuer.url()));
        let pid = pid(&mut client);
        let login = std::thread::spawn(move || init_ends(&mut client, &token));
        std::thread::sleep(Duration::from_millis(delay));
        admin.execute("SELECT pg_terminate_backend($1, 5000)", &[&pid]).expect("pg_terminate_backend");
        login.join().expect("the login's thread");
    }
    issuer.set_fault(Fault::None);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    no_crash(&NOT_PRELOADED);
}

fn init_ends(client: &mut Client, token: &str) {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect_err("terminated");
}

#[test]
fn an_interrupted_login_takes_away_the_identity_before_it() {
    let hanging = HangingIssuer::new();
    hanging.issuer.set_fault(Fault::None);
    let app = hanging.app();
    app.set("jwks_cache_ttl", "1s");
    let mut client = app.connect();
    accepted(&mut client, &hanging.token());
    std::thread::sleep(Duration::from_millis(1100));
    hanging.issuer.set_fault(Fault::Hang);
    let cancel = client.cancel_token();
    let (mut client, error, _) =
        hanging.while_waiting(client, |_| cancel.cancel_query(NoTls).expect("a cancel request"));
    assert_eq!(sqlstate(&error).as_deref(), Some("57014"));
    is_sound(&hanging, &mut client);
}

#[test]
fn a_reload_during_a_fetch_changes_nothing() {
    let hanging = HangingIssuer::new();
    let mut client = hanging.app().connect();
    let good = hanging.token();
    let login = std::thread::spawn(move || {
        accepted(&mut client, &good);
    });
    while hanging.issuer.requests().jwks == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..3 {
        NOT_PRELOADED.reload();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!login.is_finished());
    hanging.issuer.set_fault(Fault::None);
    login.join().expect("the login succeeds");
    assert_eq!(hanging.issuer.requests().jwks, 1);
}

#[test]
fn signals_are_left_to_the_main_thread() {
    let hanging = HangingIssuer::new();
    let mut admin = NOT_PRELOADED.client();
    let mut masks = Vec::new();
    hanging.while_waiting(hanging.app().connect(), |pid| {
        masks = blocked_signals(pid);
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("pg_cancel_backend");
    });
    let of_postgres = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM]
        .into_iter()
        .chain([libc::SIGTERM, libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG, libc::SIGIO]);
    assert!(masks.len() > 1, "a thread fetches");
    for signal in of_postgres {
        for (main, blocked) in &masks {
            let is_blocked = blocked & (1 << (signal - 1)) != 0;
            // SIGURG stays blocked in a backend that waits by signalfd.
            assert!(is_blocked != *main || signal == libc::SIGURG, "signal {signal}, main thread: {main}");
        }
    }
}

/// For each thread, whether it is the main one, and its signal mask.
fn blocked_signals(pid: i32) -> Vec<(bool, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("/proc");
    let mask = |entry: std::fs::DirEntry| {
        let status = std::fs::read_to_string(entry.path().join("status")).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("SigBlk");
        let blocked = u64::from_str_radix(line.trim(), 16).expect("a mask");
        (entry.file_name().to_string_lossy() == pid.to_string(), blocked)
    };
    tasks.map(|entry| mask(entry.expect("an entry"))).collect()
}

#[test]
fn a_wait_ends_with_the_fetch_timeout() {
    let hanging = HangingIssuer::new();
    let app = hanging.app();
    app.set("fetch_timeout", "1s");
    let mut client = app.connect();
    let start = Instant::now();
    unavailable(&mut client, &hanging.token(), "took too long.");
    let time = start.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_millis(1500)).contains(&time), "{time:?}");
    hanging.issuer.set_fault(Fault::None);
    std::thread::sleep(Duration::from_millis(1100));
    init(&mut client, &hanging.token()).unwrap_or_else(|error| panic!("{error:?}"));
}
