//! Good keys are held: no failed fetch replaces them, until they are too old.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, key_unknown, token, unavailable};
use pg_test::{Alg, Document, Fault, Issuer, SigningKey};
use serde_json::json;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn good_keys_survive(spoil: impl Fn(&Issuer)) {
    let (key, stranger) = (SigningKey::generate(Alg::Es256, "k"), SigningKey::generate(Alg::Es256, "stranger"));
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let app = App::of(&NOT_PRELOADED, &issuer, &[("jwks_cache_ttl", "1s"), ("fetch_timeout", "300ms")]);
    let mut client = app.connect();
    let remembered = token(&key, issuer.url());
    accepted(&mut client, &remembered);
    spoil(&issuer);
    let spoilt = issuer.requests().discovery;
    for _ in 0..2 {
        sleep(ms(1100));
        accepted(&mut client, &remembered);
        accepted(&mut client, &token(&key, issuer.url()));
    }
    assert!(issuer.requests().discovery > spoilt, "the fault was met");
    // A fetch for an unknown key that fails does not hurt either.
    key_unknown(&mut client, &token(&stranger, issuer.url()));
    accepted(&mut client, &token(&key, issuer.url()));
}

#[test]
fn a_failed_fetch_never_replaces_good_keys() {
    let faults = [
        (Document::Jwks, Fault::Delay(ms(2500))),
        (Document::Jwks, Fault::Hang),
        (Document::Jwks, Fault::Trickle(ms(20))),
        (Document::Jwks, Fault::Status(500)),
        (Document::Jwks, Fault::Status(404)),
        (Document::Jwks, Fault::Redirect("http://127.0.0.1:1/".into())),
        (Document::Jwks, Fault::Oversized(1 << 20)),
        (Document::Jwks, Fault::Truncated),
        (Document::Jwks, Fault::Refuse),
        (Document::Jwks, Fault::Garbage),
        (Document::Jwks, Fault::EmptySet),
        (Document::Discovery, Fault::WrongIssuer),
        (Document::Discovery, Fault::Garbage),
        (Document::Discovery, Fault::Status(500)),
        (Document::Discovery, Fault::Hang),
    ];
    thread::scope(|scope| {
        for (document, fault) in faults {
            scope.spawn(move || good_keys_survive(|issuer| issuer.set_fault_on(document, fault.clone())));
        }
        // Nor does an answer without a usable key.
        scope.spawn(|| {
            let unusable = json!({ "keys": [{ "kty": "RSA", "kid": "k", "use": "enc", "n": "AQAB", "e": "AQAB" }] });
            good_keys_survive(|issuer| issuer.publish_json(unusable.clone()));
        });
        scope.spawn(|| good_keys_survive(|issuer| issuer.publish_body(b"{}".to_vec())));
    });
}

#[test]
fn keys_serve_without_their_issuer_until_they_are_too_old() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let app = App::of(
        &NOT_PRELOADED,
        &issuer,
        &[("jwks_cache_ttl", "1s"), ("jwks_max_stale", "3s"), ("jwks_refresh_cooldown", "1s")],
    );
    let mut client = app.connect();
    let start = Instant::now();
    let remembered = token(&key, issuer.url());
    accepted(&mut client, &remembered);
    issuer.set_fault(Fault::Status(500));
    while start.elapsed() < ms(2500) {
        accepted(&mut client, &token(&key, issuer.url()));
        accepted(&mut client, &remembered);
        sleep(ms(100));
    }
    sleep(ms(3200).saturating_sub(start.elapsed()));
    unavailable(&mut client, &token(&key, issuer.url()), "answered 500.");
    unavailable(&mut client, &remembered, "answered 500.");
    issuer.set_fault(Fault::None);
    // The pause between attempts is no longer than the cooldown.
    sleep(ms(1100));
    accepted(&mut client, &remembered);
}

#[test]
fn keys_that_may_not_be_stale_end_with_their_ttl() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("jwks_cache_ttl", "1s"), ("jwks_max_stale", "0")]).connect();
    accepted(&mut client, &token(&key, issuer.url()));
    issuer.set_fault(Fault::Refuse);
    sleep(ms(1100));
    unavailable(&mut client, &token(&key, issuer.url()), "GET ");
}

#[test]
fn a_refresh_that_was_left_lying_does_not_prolong_the_life_of_keys() {
    let (old, new) = (SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
    let issuer = Issuer::start();
    issuer.publish(&[&old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("jwks_cache_ttl", "4s")]).connect();
    let start = Instant::now();
    accepted(&mut client, &token(&old, issuer.url()));
    sleep(ms(3400).saturating_sub(start.elapsed()));
    accepted(&mut client, &token(&old, issuer.url()));
    while issuer.requests().jwks < 2 {
        assert!(start.elapsed() < ms(5000), "no refresh in the background");
        sleep(ms(5));
    }
    sleep(ms(100));
    issuer.publish(&[&new]);
    // The backend is idle until what the refresh brought is too old as well.
    sleep(ms(7600).saturating_sub(start.elapsed()));
    key_unknown(&mut client, &token(&old, issuer.url()));
}
