//! Sessions that wait for keys from an issuer that hangs.

use std::thread;
use std::time::{Duration, Instant};

use pg_test::{Alg, Cluster, Fault, Issuer, PgError, SigningKey, pg_error};
use postgres::Client;

use crate::app::{App, token};

/// Interrupting a wait takes at most this, on a machine that is not busy.
const BOUND: Duration = Duration::from_millis(100);

/// Tries until one attempt is prompt: a busy machine spoils some, a wait that is not interrupted spoils all.
pub fn promptly(what: &str, mut attempt: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    while times.len() < 3 {
        times.push(attempt());
        if times.last().is_some_and(|time| *time <= BOUND) {
            println!("{what}: {times:?}");
            return;
        }
    }
    panic!("{what} took {times:?}, and not at most {BOUND:?}");
}

/// An issuer that hangs until told otherwise, and a key of its.
pub struct HangingIssuer {
    pub issuer: Issuer,
    key: SigningKey,
}

impl HangingIssuer {
    pub fn new() -> Self {
        let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
        issuer.publish(&[&key]);
        issuer.set_fault(Fault::Hang);
        Self { issuer, key }
    }

    pub fn app(&self) -> App {
        App::of(&self.issuer, &[("fetch_timeout", "30s"), ("jwks_uri", &self.issuer.jwks_uri())])
    }

    pub fn token(&self) -> String {
        token(&self.key, self.issuer.url())
    }

    /// Logs in on another thread, waits until its request has come in, and acts. Returns the client, the outcome of
    /// the login and the time from the act to that outcome.
    pub fn while_waiting(&self, mut client: Client, act: impl FnOnce(i32)) -> (Client, postgres::Error, Duration) {
        let before = self.issuer.requests().jwks;
        let pid = pid(&mut client);
        let token = self.token();
        let login = thread::spawn(move || {
            let outcome = client.execute("SELECT auth.jwt_session_init($1)", &[&token]);
            let end = Instant::now();
            (client, outcome.expect_err("the wait is interrupted"), end)
        });
        while self.issuer.requests().jwks == before {
            assert!(!login.is_finished(), "the login did not wait");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        act(pid);
        let (client, error, end) = login.join().expect("the login's thread");
        (client, error, end.saturating_duration_since(start))
    }
}

/// The backend that serves a client.
pub fn pid(client: &mut Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0)
}

/// What the server said, where it could still say something.
pub fn sqlstate(error: &postgres::Error) -> Option<String> {
    error.as_db_error().map(|_| pg_error(error)).map(|PgError { sqlstate, .. }| sqlstate)
}

/// No backend of this server has crashed.
pub fn no_crash(cluster: &Cluster) {
    let log = cluster.log();
    assert!(!log.contains("terminated by signal"), "{log}");
}
