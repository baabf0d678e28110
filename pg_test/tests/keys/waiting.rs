//! Sessions that wait for keys from an issuer that hangs.

use std::thread;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::backend::pid;
use pg_test::login::token;
use pg_test::{Alg, Cluster, Fault, Issuer, PgError, SigningKey, pg_error};
use postgres::Client;

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

    pub fn app(&self) -> App<'static> {
        App::of(&NOT_PRELOADED, &self.issuer, &[("fetch_timeout", "30s"), ("jwks_uri", &self.issuer.jwks_uri())])
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

/// What the server said, where it could still say something.
pub fn sqlstate(error: &postgres::Error) -> Option<String> {
    error.as_db_error().map(|_| pg_error(error)).map(|PgError { sqlstate, .. }| sqlstate)
}

/// No backend of this server has crashed.
pub fn no_crash(cluster: &Cluster) {
    let log = cluster.log();
    assert!(!log.contains("terminated by signal"), "{log}");
}
