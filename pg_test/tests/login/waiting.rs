//! Keys while logging in: they rotate, they cannot be had, and many want them at once.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::server::*;
use pg_test::cluster::Options;
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, Credentials, Fault, Issuer, RawClient, Refused, SigningKey, claims};
use serde_json::json;

/// What a wait may take beyond its bound on a busy machine.
const GRACE: Duration = Duration::from_millis(1500);

fn preloaded(issuer: &Issuer) -> Options {
    of_issuer(issuer).setting("shared_preload_libraries", "pg_jwks")
}

fn token(key: &SigningKey, issuer: &Issuer, sub: &str) -> String {
    let mut claims = claims(issuer.url(), sub);
    claims["scope"] = json!("login");
    key.sign(&claims)
}

fn log_in(cluster: &Cluster, token: &str) -> Result<RawClient, Refused> {
    RawClient::connect(cluster, "alice", "named", Credentials::Bearer(token))
}

/// A provider and its key.
fn provider() -> (Issuer, SigningKey) {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    (issuer, key)
}

/// Preloaded and not.
fn both(issuer: &Issuer) -> [(&'static str, Options); 2] {
    [("preloaded", preloaded(issuer)), ("not preloaded", of_issuer(issuer))]
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn keys_rotate_while_people_log_in() {
    for preload in [true, false] {
        let (issuer, old, new) =
            (Issuer::start(), SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
        issuer.publish(&[&old]);
        let options = if preload { preloaded(&issuer) } else { of_issuer(&issuer) };
        let options = options.setting("pg_jwks.jwks_refresh_cooldown", "1s");
        let cluster = asking(options, issuer.url());
        log_in(&cluster, &token(&old, &issuer, "alice")).expect("the old key");
        sleep(Duration::from_millis(1100));
        issuer.publish(&[&old, &new]);
        for key in [&new, &old, &new] {
            let mut client = log_in(&cluster, &token(key, &issuer, "alice")).expect("both keys");
            assert_eq!(identity(&mut client).as_deref(), Some("alice"));
        }
        // A key that is withdrawn stops: at once where each session fetches, otherwise with the next fetch.
        issuer.publish(&[&new]);
        if preload {
            sleep(Duration::from_millis(1100));
            let other = SigningKey::generate(Alg::Es256, "other");
            log_in(&cluster, &token(&other, &issuer, "alice")).err().expect("a key that nobody has");
        }
        let mark = cluster.log_mark();
        log_in(&cluster, &token(&old, &issuer, "alice")).err().expect("the withdrawn key");
        logged(&cluster, mark, "OAuth token rejected for user \"alice\": key unknown");
    }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn the_shared_keys_serve_while_the_provider_is_down() {
    let (issuer, key) = provider();
    let cluster = asking(preloaded(&issuer), issuer.url());
    log_in(&cluster, &token(&key, &issuer, "alice")).expect("a good token");
    let requests = issuer.requests();
    issuer.set_fault(Fault::Refuse);
    for _ in 0..5 {
        log_in(&cluster, &token(&key, &issuer, "alice")).expect("the keys that are there");
    }
    assert_eq!(issuer.requests(), requests, "logins with keys at hand ask nobody");
    // They are also on disk.
    cluster.restart();
    log_in(&cluster, &token(&key, &issuer, "alice")).expect("the keys on disk");
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_provider_that_is_down_is_in_the_log() {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Refuse);
    for (what, options) in both(&issuer) {
        let cluster = asking(options, issuer.url());
        let mark = cluster.log_mark();
        let refused = log_in(&cluster, &token(&key, &issuer, "alice")).err().expect("no keys");
        assert_eq!(refused.error.message, "OAuth bearer authentication failed for user \"alice\"", "{what}");
        let log = logged(&cluster, mark, "OAuth token rejected for user \"alice\": keys unavailable");
        assert!(log.contains("DETAIL:  Keys could not be had from"), "{what}: {log}");
    }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn the_wait_for_a_provider_that_hangs_is_bounded() {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Hang);
    for (what, options) in both(&issuer) {
        // The worker may have begun before the session.
        let bound = Duration::from_secs(5);
        let cluster = asking(options.setting("pg_jwks.fetch_timeout", "5s"), issuer.url());
        let mark = cluster.log_mark();
        let begun = Instant::now();
        log_in(&cluster, &token(&key, &issuer, "alice")).err().expect("no keys");
        let took = begun.elapsed();
        println!("{what}: refused after {took:?}");
        assert!(took > bound / 10 && took < bound + GRACE, "{what}: {took:?}");
        logged(&cluster, mark, "OAuth token rejected for user \"alice\": keys unavailable");
    }
}

/// PostgreSQL's own bound of an authentication.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn authentication_timeout_ends_the_wait() {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Hang);
    for (what, options) in both(&issuer) {
        let options = options.setting("pg_jwks.fetch_timeout", "30s").setting("authentication_timeout", "2s");
        let cluster = asking(options, issuer.url());
        let mark = cluster.log_mark();
        let begun = Instant::now();
        let refused = log_in(&cluster, &token(&key, &issuer, "alice")).err().expect("no keys");
        let took = begun.elapsed();
        println!("{what}: {:?} after {took:?}", refused.error.message);
        assert!(took > Duration::from_millis(1800) && took < Duration::from_secs(2) + GRACE, "{what}: {took:?}");
        logged(&cluster, mark, "FATAL:  canceling authentication due to timeout");
        // The server is as it was.
        issuer.set_fault(Fault::None);
        sleep(Duration::from_millis(100));
        eventually("a login once the provider answers", || log_in(&cluster, &token(&key, &issuer, "alice")).ok());
        issuer.set_fault(Fault::Hang);
    }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_shutdown_ends_the_wait() {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Hang);
    for (what, options) in both(&issuer) {
        let cluster = asking(options.setting("pg_jwks.fetch_timeout", "30s"), issuer.url());
        issuer.reset_requests();
        let token = token(&key, &issuer, "alice");
        thread::scope(|scope| {
            let login = scope.spawn(|| log_in(&cluster, &token).err().expect("the server stops"));
            // The fetch may have begun with the worker; the session is then waiting for that one.
            eventually("a request", || (issuer.requests().discovery > 0 || what != "not preloaded").then_some(()));
            sleep(Duration::from_millis(500));
            assert!(!login.is_finished(), "{what}: nobody waits");
            let begun = Instant::now();
            cluster.stop();
            let took = begun.elapsed();
            println!("{what}: stopped after {took:?}");
            assert!(took < Duration::from_secs(2), "{what}: {took:?}");
            login.join().expect("the client");
        });
        assert!(!cluster.log().contains("was terminated by signal"), "{what}: {}", cluster.log());
    }
}

/// A mistake that others make: those who come while the first one fetches are refused.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn two_hundred_logins_on_a_cold_cache_get_in_with_one_fetch() {
    const LOGINS: usize = 200;
    let (issuer, key) = provider();
    // Until all of them wait.
    issuer.set_fault(Fault::Hang);
    let long = preloaded(&issuer).setting("pg_jwks.fetch_timeout", "60s").setting("authentication_timeout", "120s");
    let cluster = asking(long, issuer.url());
    let token = token(&key, &issuer, "alice");
    let begun = Instant::now();
    let sessions: Vec<_> = thread::scope(|scope| {
        let logins: Vec<_> = (0..LOGINS).map(|_| scope.spawn(|| log_in(&cluster, &token))).collect();
        let mut observer = cluster.client();
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgJwksKeys' AND backend_type = 'client backend'";
        while observer.query_one(waiting, &[]).expect("pg_stat_activity").get::<_, i64>(0) < 200 {
            assert!(begun.elapsed() < Duration::from_secs(50), "they do not wait");
            sleep(Duration::from_millis(50));
        }
        println!("{LOGINS} wait after {:?}", begun.elapsed());
        issuer.set_fault(Fault::None);
        logins.into_iter().map(|login| login.join().expect("a client")).collect()
    });
    println!("{LOGINS} logins in {:?}; {:?}", begun.elapsed(), issuer.requests());
    let refused: Vec<_> = sessions.iter().filter_map(|session| session.as_ref().err()).collect();
    assert!(refused.is_empty(), "{} of {LOGINS} were refused: {:?}", refused.len(), refused[0]);
    assert_eq!((issuer.requests().discovery, issuer.requests().jwks), (1, 1));
}
