//! A backend waits for the worker: cancel, timeouts and termination end the wait.

use std::thread;
use std::time::{Duration, Instant};

use pg_test::app::App;
use pg_test::login::{accepted, sees, token, unavailable};
use pg_test::wait::{eventually, promptly};
use pg_test::{Alg, Fault, Issuer, SigningKey, pg_error};
use postgres::{Client, NoTls};

use crate::server::CLUSTER;

struct Hanging {
    issuer: Issuer,
    key: SigningKey,
    session: Client,
    pid: i32,
}

fn hanging() -> Hanging {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Hang);
    let mut session = App::of(&CLUSTER, &issuer, &[("fetch_timeout", "20s")]).connect();
    let pid = session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    Hanging { issuer, key, session, pid }
}

/// Interrupts the wait of a session, and returns what it reports and how soon.
fn interrupted(hanging: &mut Hanging, interrupt: impl FnOnce(&Other)) -> (postgres::Error, Duration) {
    let Hanging { issuer, key, session, pid } = hanging;
    let other = Other { pid: *pid, cancel: session.cancel_token() };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let error = session.execute("SELECT auth.jwt_session_init($1)", &[&token(key, issuer.url())]);
            (error.expect_err("interrupted"), Instant::now())
        });
        let mut observer = CLUSTER.client();
        let query = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'";
        let event: String =
            eventually("the wait", || observer.query_opt(query, &[pid]).expect("query").map(|row| row.get(0)));
        let name = if CLUSTER.major_version() >= 17 { "PgJwksKeys" } else { "Extension" };
        assert_eq!(event, name);
        let begun = Instant::now();
        interrupt(&other);
        let (error, ended) = waiting.join().expect("no panic");
        (error, ended.duration_since(begun))
    })
}

struct Other {
    pid: i32,
    cancel: postgres::CancelToken,
}

#[test]
fn a_cancel_ends_the_wait_and_leaves_no_identity() {
    promptly("a cancel", || {
        let mut hanging = hanging();
        let (error, after) = interrupted(&mut hanging, |other| other.cancel.cancel_query(NoTls).expect("cancel"));
        assert_eq!(pg_error(&error).sqlstate, "57014");
        assert!(sees(&mut hanging.session).is_empty());
        // The fetch goes on without the one who asked.
        hanging.issuer.set_fault(Fault::None);
        accepted(&mut hanging.session, &token(&hanging.key, hanging.issuer.url()));
        after
    });
}

#[test]
fn termination_ends_the_wait() {
    promptly("termination", || {
        let mut hanging = hanging();
        let mark = CLUSTER.log_mark();
        let mut admin = CLUSTER.client();
        let (error, after) = interrupted(&mut hanging, |other| {
            admin.execute("SELECT pg_terminate_backend($1)", &[&other.pid]).expect("terminated");
        });
        // The client may notice that the connection is closed before it reads why.
        assert!(error.is_closed() || pg_error(&error).sqlstate == "57P01", "{error:?}");
        assert!(CLUSTER.log_since(mark).contains("terminating connection due to administrator command"));
        hanging.session.batch_execute("SELECT 1").expect_err("the session is gone");
        after
    });
}

#[test]
fn a_statement_timeout_ends_the_wait() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let mut hanging = hanging();
    hanging.session.batch_execute("SET statement_timeout = '200ms'").expect("SET");
    for _ in 0..2 {
        promptly("a statement timeout", || {
            let begun = Instant::now();
            let token = token(&hanging.key, hanging.issuer.url());
            let error = hanging.session.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect_err("a timeout");
            assert_eq!(pg_error(&error).sqlstate, "57014");
            assert!(begun.elapsed() >= TIMEOUT, "{:?}", begun.elapsed());
            begun.elapsed().saturating_sub(TIMEOUT)
        });
    }
}

#[test]
fn keys_that_cannot_be_had_can_be_handled_in_a_subtransaction() {
    let mut hanging = hanging();
    let token_text = token(&hanging.key, hanging.issuer.url());
    let block = format!(
        "DO $$ BEGIN
             BEGIN PERFORM auth.jwt_session_init('{token_text}'); EXCEPTION WHEN OTHERS THEN NULL; END;
         END $$"
    );
    hanging.issuer.set_fault(Fault::Status(503));
    hanging.session.batch_execute(&block).expect("the error is caught");
    assert!(sees(&mut hanging.session).is_empty());
}

#[test]
fn the_wait_is_bounded_by_the_fetch_timeout() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Hang);
    let mut session = App::of(&CLUSTER, &issuer, &[("fetch_timeout", "500ms")]).connect();
    let begun = Instant::now();
    unavailable(&mut session, &token(&key, issuer.url()), "took too long");
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}
