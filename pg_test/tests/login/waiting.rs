//! Keys while logging in: they rotate, they cannot be had, and many want them at once.

use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::server::*;
use pg_test::cluster::Options;
use pg_test::process::run as run_program;
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, Fault, Issuer, RawClient, Refused, SigningKey, claims};
use serde_json::json;

at_each_door!(
    keys_rotate_while_people_log_in,
    the_shared_keys_serve_while_the_provider_is_down,
    a_provider_that_is_down_is_in_the_log,
    the_wait_for_a_provider_that_hangs_is_bounded,
    authentication_timeout_ends_the_wait,
    a_shutdown_ends_the_wait,
    two_hundred_logins_on_a_cold_cache_get_in_with_one_fetch,
);

/// What a wait may take beyond its bound on a busy machine.
const GRACE: Duration = Duration::from_millis(1500);

fn preloaded(door: Door, issuer: &Issuer) -> Options {
    door.of_issuer(issuer).setting("shared_preload_libraries", "pg_jwks")
}

fn token(key: &SigningKey, issuer: &Issuer, sub: &str) -> String {
    let mut claims = claims(issuer.url(), sub);
    claims["scope"] = json!("login");
    key.sign(&claims)
}

fn log_in(door: Door, cluster: &Cluster, token: &str) -> Result<RawClient, Refused> {
    door.connect(cluster, "alice", "named", token)
}

/// A provider and its key.
fn provider() -> (Issuer, SigningKey) {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    (issuer, key)
}

/// Preloaded, and not where the door opens without.
fn both(door: Door, issuer: &Issuer) -> Vec<(&'static str, Options)> {
    let mut all = vec![("preloaded", preloaded(door, issuer))];
    if door == Door::OAuth {
        all.push(("not preloaded", door.of_issuer(issuer)));
    }
    all
}

fn keys_rotate_while_people_log_in(door: Door) {
    for preload in [true, false].into_iter().filter(|preload| *preload || door == Door::OAuth) {
        let (issuer, old, new) =
            (Issuer::start(), SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
        issuer.publish(&[&old]);
        let options = if preload { preloaded(door, &issuer) } else { door.of_issuer(&issuer) };
        let options = options.setting("pg_jwks.jwks_refresh_cooldown", "1s");
        let cluster = door.asking(options, issuer.url());
        log_in(door, &cluster, &token(&old, &issuer, "alice")).expect("the old key");
        sleep(Duration::from_millis(1100));
        issuer.publish(&[&old, &new]);
        for key in [&new, &old, &new] {
            let mut client = log_in(door, &cluster, &token(key, &issuer, "alice")).expect("both keys");
            assert_eq!(identity(&mut client).as_deref(), Some("alice"));
        }
        // A key that is withdrawn stops: at once where each session fetches, otherwise with the next fetch.
        issuer.publish(&[&new]);
        if preload {
            sleep(Duration::from_millis(1100));
            let other = SigningKey::generate(Alg::Es256, "other");
            log_in(door, &cluster, &token(&other, &issuer, "alice")).err().expect("a key that nobody has");
        }
        let mark = cluster.log_mark();
        log_in(door, &cluster, &token(&old, &issuer, "alice")).err().expect("the withdrawn key");
        logged(&cluster, mark, &format!("{} token rejected for user \"alice\": key unknown", door.kind()));
    }
}

fn the_shared_keys_serve_while_the_provider_is_down(door: Door) {
    let (issuer, key) = provider();
    let cluster = door.asking(preloaded(door, &issuer), issuer.url());
    log_in(door, &cluster, &token(&key, &issuer, "alice")).expect("a good token");
    let requests = issuer.requests();
    issuer.set_fault(Fault::Refuse);
    for _ in 0..5 {
        log_in(door, &cluster, &token(&key, &issuer, "alice")).expect("the keys that are there");
    }
    assert_eq!(issuer.requests(), requests, "logins with keys at hand ask nobody");
    // They are also on disk.
    cluster.restart();
    log_in(door, &cluster, &token(&key, &issuer, "alice")).expect("the keys on disk");
}

fn a_provider_that_is_down_is_in_the_log(door: Door) {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Refuse);
    for (what, options) in both(door, &issuer) {
        let cluster = door.asking(options, issuer.url());
        let mark = cluster.log_mark();
        let refused = log_in(door, &cluster, &token(&key, &issuer, "alice")).err().expect("no keys");
        assert_eq!(refused.error.message, door.refusal("alice"), "{what}");
        let log =
            logged(&cluster, mark, &format!("{} token rejected for user \"alice\": keys unavailable", door.kind()));
        assert!(log.contains("DETAIL:  Keys could not be had from"), "{what}: {log}");
    }
}

fn the_wait_for_a_provider_that_hangs_is_bounded(door: Door) {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Hang);
    for (what, options) in both(door, &issuer) {
        // The worker may have begun before the session.
        let bound = Duration::from_secs(5);
        let cluster = door.asking(options.setting("pg_jwks.fetch_timeout", "5s"), issuer.url());
        let mark = cluster.log_mark();
        let begun = Instant::now();
        log_in(door, &cluster, &token(&key, &issuer, "alice")).err().expect("no keys");
        let took = begun.elapsed();
        println!("{what}: refused after {took:?}");
        assert!(took > bound / 10 && took < bound + GRACE, "{what}: {took:?}");
        logged(&cluster, mark, &format!("{} token rejected for user \"alice\": keys unavailable", door.kind()));
    }
}

/// PostgreSQL's own bound of an authentication.
fn authentication_timeout_ends_the_wait(door: Door) {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Hang);
    for (what, options) in both(door, &issuer) {
        let options = options.setting("pg_jwks.fetch_timeout", "30s").setting("authentication_timeout", "2s");
        let cluster = door.asking(options, issuer.url());
        let mark = cluster.log_mark();
        let begun = Instant::now();
        let refused = log_in(door, &cluster, &token(&key, &issuer, "alice")).err().expect("no keys");
        let took = begun.elapsed();
        println!("{what}: {:?} after {took:?}", refused.error.message);
        assert!(took > Duration::from_millis(1800) && took < Duration::from_secs(2) + GRACE, "{what}: {took:?}");
        logged(&cluster, mark, "FATAL:  canceling authentication due to timeout");
        // The server is as it was.
        issuer.set_fault(Fault::None);
        sleep(Duration::from_millis(100));
        eventually("a login once the provider answers", || log_in(door, &cluster, &token(&key, &issuer, "alice")).ok());
        issuer.set_fault(Fault::Hang);
    }
}

fn a_shutdown_ends_the_wait(door: Door) {
    let (issuer, key) = provider();
    issuer.set_fault(Fault::Hang);
    for (what, options) in both(door, &issuer) {
        let cluster = door.asking(options.setting("pg_jwks.fetch_timeout", "30s"), issuer.url());
        issuer.reset_requests();
        let token = token(&key, &issuer, "alice");
        thread::scope(|scope| {
            let login = scope.spawn(|| log_in(door, &cluster, &token).err().expect("the server stops"));
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

/// How many processes of the server are authenticating a client, as their titles say.
fn authenticating(cluster: &Cluster) -> usize {
    let mut ps = Command::new("ps");
    ps.args(["--ppid", &cluster.postmaster_pid().to_string(), "-ww", "-o", "args="]);
    run_program(&mut ps).lines().filter(|title| title.ends_with(" authentication")).count()
}

/// A mistake that others make: those who come while the first one fetches are refused.
fn two_hundred_logins_on_a_cold_cache_get_in_with_one_fetch(door: Door) {
    const LOGINS: usize = 200;
    let (issuer, key) = provider();
    // Until all of them wait.
    issuer.set_fault(Fault::Hang);
    let long =
        preloaded(door, &issuer).setting("pg_jwks.fetch_timeout", "60s").setting("authentication_timeout", "120s");
    let cluster = door.asking(long, issuer.url());
    let token = token(&key, &issuer, "alice");
    let begun = Instant::now();
    let sessions: Vec<_> = thread::scope(|scope| {
        let logins: Vec<_> = (0..LOGINS).map(|_| scope.spawn(|| log_in(door, &cluster, &token))).collect();
        while authenticating(&cluster) < LOGINS {
            assert!(begun.elapsed() < Duration::from_secs(50), "they do not wait");
            sleep(Duration::from_millis(50));
        }
        // The last ones have come as far as the others.
        sleep(Duration::from_secs(1));
        println!("{LOGINS} wait after {:?}", begun.elapsed());
        issuer.set_fault(Fault::None);
        logins.into_iter().map(|login| login.join().expect("a client")).collect()
    });
    println!("{LOGINS} logins in {:?}; {:?}", begun.elapsed(), issuer.requests());
    let refused: Vec<_> = sessions.iter().filter_map(|session| session.as_ref().err()).collect();
    assert!(refused.is_empty(), "{} of {LOGINS} were refused: {:?}", refused.len(), refused[0]);
    assert_eq!((issuer.requests().discovery, issuer.requests().jwks), (1, 1));
}
