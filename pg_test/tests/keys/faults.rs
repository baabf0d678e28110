//! The first fetch fails: the login is refused with the reason in words, soon, and the next fetch waits a while.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, token, unavailable};
use pg_test::{Alg, Document, Fault, Issuer, Requests, SigningKey};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Faults of either document, and the words for them.
fn faults() -> Vec<(Fault, &'static str)> {
    vec![
        (Fault::Delay(ms(2500)), "took too long."),
        (Fault::Hang, "took too long."),
        (Fault::Trickle(ms(20)), "took too long."),
        (Fault::Status(500), "answered 500."),
        (Fault::Status(404), "answered 404."),
        (Fault::Status(204), "answered 204."),
        (Fault::Status(304), "answered 304 to a request without condition."),
        (Fault::Redirect("http://127.0.0.1:1/".into()), "answered 302; redirects are not followed."),
        (Fault::Oversized(262_145), "answered more than 262144 bytes."),
        (Fault::Truncated, "the connection was closed before the answer was complete."),
        (Fault::Refuse, "the connection was closed before the answer was complete."),
    ]
}

/// The login is refused with these words, and succeeds once the issuer is well again.
fn fails_and_recovers(document: Document, fault: &Fault, words: &str) {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    issuer.set_fault_on(document, fault.clone());
    let app = App::of(&NOT_PRELOADED, &issuer, &[("fetch_timeout", "1s")]);
    let mut client = app.connect();
    let good = token(&key, issuer.url());
    let start = Instant::now();
    unavailable(&mut client, &good, words);
    assert!(start.elapsed() < ms(2200), "{fault:?} took {:?}", start.elapsed());
    let place = format!("Keys could not be had from issuer \"{}\". ", issuer.url());
    unavailable(&mut client, &good, &place);
    issuer.set_fault(Fault::None);
    sleep(ms(1100));
    accepted(&mut client, &good);
}

fn fail_and_recover(document: Document, faults: Vec<(Fault, &'static str)>) {
    thread::scope(|scope| {
        for (fault, words) in faults {
            scope.spawn(move || fails_and_recovers(document, &fault, words));
        }
    });
}

#[test]
fn a_key_set_that_cannot_be_had_is_explained() {
    let mut faults = faults();
    faults.push((Fault::Garbage, "The key document is HTML or XML, not JSON."));
    faults.push((Fault::EmptySet, "The key document has no keys."));
    fail_and_recover(Document::Jwks, faults);
}

#[test]
fn a_discovery_document_that_cannot_be_had_is_explained() {
    let mut faults = faults();
    faults.push((Fault::Garbage, "is not a JSON object with \"issuer\" and \"jwks_uri\"."));
    faults.push((Fault::WrongIssuer, "The discovery document is of issuer \"https://other-issuer.example\", not of "));
    fail_and_recover(Document::Discovery, faults);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    let url = issuer.url().to_owned();
    drop(issuer);
    for (url, words) in [
        (url.as_str(), "Connection refused"),
        ("http://pg-jwks.invalid", "GET http://pg-jwks.invalid/.well-known/openid-configuration failed: "),
    ] {
        let app = App::new(&NOT_PRELOADED, &[("issuer", url)]);
        unavailable(&mut app.connect(), &token(&key, url), words);
    }
}

#[test]
fn a_slow_issuer_is_waited_for() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    for fault in [Fault::Delay(ms(300)), Fault::Trickle(ms(1)), Fault::Oversized(262_144)] {
        issuer.set_fault(fault);
        accepted(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()));
    }
}

#[test]
fn the_fetch_timeout_bounds_both_requests_together() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Delay(ms(700)));
    let app = App::of(&NOT_PRELOADED, &issuer, &[("fetch_timeout", "1s")]);
    let start = Instant::now();
    unavailable(&mut app.connect(), &token(&key, issuer.url()), "/jwks.json took too long.");
    assert!((ms(900)..ms(1350)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn failed_fetches_are_not_retried_at_every_login() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.set_fault(Fault::Status(500));
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    let start = Instant::now();
    for _ in 0..50 {
        unavailable(&mut client, &token(&key, issuer.url()), "answered 500.");
    }
    // One at once, and then after 1 s, 2 s and so on.
    let allowed = 1 + start.elapsed().as_secs() as usize;
    assert!(issuer.requests().discovery <= allowed, "{:?} in {:?}", issuer.requests(), start.elapsed());
    sleep(ms(1100).saturating_sub(start.elapsed()));
    unavailable(&mut client, &token(&key, issuer.url()), "answered 500.");
    assert_eq!(issuer.requests().discovery, 2);
    sleep(ms(1100));
    unavailable(&mut client, &token(&key, issuer.url()), "answered 500.");
    assert_eq!(issuer.requests(), Requests { discovery: 2, jwks: 0 }, "the pause doubles");
}

#[test]
fn a_fetch_that_timed_out_is_not_retried_at_once() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.set_fault(Fault::Hang);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("fetch_timeout", "1500ms")]).connect();
    unavailable(&mut client, &token(&key, issuer.url()), "took too long.");
    let start = Instant::now();
    for _ in 0..5 {
        unavailable(&mut client, &token(&key, issuer.url()), "took too long.");
    }
    assert!(start.elapsed() < ms(700), "logins wait again: {:?}", start.elapsed());
    assert_eq!(issuer.requests().discovery, 1);
}
