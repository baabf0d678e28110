//! Keys come and go while sessions live.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, init, key_unknown, refused, token};
use pg_test::{Alg, Document, Fault, Issuer, Requests, SigningKey};
use postgres::Client;
use serde_json::json;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn es256(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, kid)
}

/// An issuer that has only `new` left, a session whose keys are from before and no longer fresh, and the token of `old`
/// that it accepted.
fn replaced(old: &SigningKey, new: &SigningKey) -> (Issuer, Client, String) {
    let issuer = Issuer::start();
    issuer.publish(&[old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("jwks_cache_ttl", "1s")]).connect();
    let remembered = token(old, issuer.url());
    accepted(&mut client, &remembered);
    issuer.publish(&[new]);
    sleep(ms(1100));
    (issuer, client, remembered)
}

#[test]
fn a_new_key_verifies_at_once_with_one_more_request() {
    let (old, new) = (es256("old"), es256("new"));
    let issuer = Issuer::start();
    issuer.publish(&[&old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("jwks_uri", &issuer.jwks_uri())]).connect();
    accepted(&mut client, &token(&old, issuer.url()));
    issuer.publish(&[&old, &new]);
    accepted(&mut client, &token(&new, issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 0, jwks: 2 });
    accepted(&mut client, &token(&new, issuer.url()));
    accepted(&mut client, &token(&old, issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 0, jwks: 2 });
}

#[test]
fn a_withdrawn_key_stops_verifying_at_the_refresh_that_drops_it() {
    let (old, new) = (es256("old"), es256("new"));
    let issuer = Issuer::start();
    issuer.publish(&[&old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    let remembered = token(&old, issuer.url());
    accepted(&mut client, &remembered);
    issuer.publish(&[&new]);
    accepted(&mut client, &remembered);
    // This token's key is unknown, which causes the refresh.
    accepted(&mut client, &token(&new, issuer.url()));
    key_unknown(&mut client, &remembered);
    key_unknown(&mut client, &token(&old, issuer.url()));
    accepted(&mut client, &token(&new, issuer.url()));
    assert_eq!(issuer.requests().jwks, 2);
}

#[test]
fn a_withdrawn_key_stops_verifying_when_its_ttl_is_over() {
    let (old, new) = (es256("old"), es256("new"));
    let (issuer, mut client, remembered) = replaced(&old, &new);
    key_unknown(&mut client, &remembered);
    assert_eq!(issuer.requests().jwks, 2, "keys that were fetched this moment are not fetched again for a lost key");
}

#[test]
fn a_key_replaced_under_its_name_stops_verifying() {
    let (old, new) = (es256("same"), es256("same"));
    let (issuer, mut client, remembered) = replaced(&old, &new);
    refused(&mut client, &remembered, "28000", "signature invalid", "");
    accepted(&mut client, &token(&new, issuer.url()));
}

#[test]
fn unknown_keys_cause_few_requests() {
    let key = es256("k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    const BACKENDS: usize = 3;
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..BACKENDS {
            scope.spawn(|| {
                let mut client = app.connect();
                accepted(&mut client, &token(&key, issuer.url()));
                for attempt in 0..150 {
                    let forger = es256(&format!("unknown-{attempt}"));
                    let error = init(&mut client, &token(&forger, issuer.url())).expect_err("an unknown key");
                    assert_eq!(error.message, "JWT rejected: key unknown");
                    if attempt % 10 == 0 {
                        accepted(&mut client, &token(&key, issuer.url()));
                    }
                }
                accepted(&mut client, &token(&key, issuer.url()));
            });
        }
    });
    // One fetch for the first login, and some for the unknown keys: at once, and after 1, 2, 4 and so on seconds.
    let looks = usize::try_from((start.elapsed().as_secs() + 1).ilog2() + 1).expect("some seconds");
    let requests = issuer.requests();
    assert!((2 * BACKENDS..=(1 + looks) * BACKENDS).contains(&requests.jwks), "{requests:?}, {looks}");
}

#[test]
fn a_bad_signature_causes_no_request_where_its_key_is_known() {
    let key = es256("k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    accepted(&mut client, &token(&key, issuer.url()));
    for _ in 0..20 {
        refused(&mut client, &token(&es256("k"), issuer.url()), "28000", "signature invalid", "");
    }
    assert_eq!(issuer.requests().jwks, 1);
}

#[test]
fn a_backend_that_begins_with_an_unknown_key_fetches_once() {
    let key = es256("k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    key_unknown(&mut app.connect(), &token(&es256("unknown"), issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
}

/// A key can be used before it is published everywhere.
#[test]
fn an_unknown_key_is_looked_for_again_after_a_second() {
    let (old, new) = (es256("old"), es256("new"));
    let issuer = Issuer::start();
    issuer.publish(&[&old]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    accepted(&mut client, &token(&old, issuer.url()));
    let early = token(&new, issuer.url());
    let start = Instant::now();
    key_unknown(&mut client, &early);
    issuer.publish(&[&old, &new]);
    key_unknown(&mut client, &early);
    assert!(start.elapsed() < ms(1000), "the machine is too slow for this test");
    assert_eq!(issuer.requests().jwks, 2);
    sleep(ms(1100));
    accepted(&mut client, &early);
    assert_eq!(issuer.requests().jwks, 3);
}

#[test]
fn the_first_non_matching_key_does_not_fail_the_login() {
    let keys: Vec<_> = (0..3).map(|_| es256("same")).collect();
    let rsa = SigningKey::generate(Alg::Rs256, "same");
    let issuer = Issuer::start();
    issuer.publish(&[&rsa, &keys[0], &keys[1], &keys[2]]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    for key in keys.iter().chain([&rsa]) {
        accepted(&mut client, &token(key, issuer.url()));
    }
    refused(&mut client, &token(&es256("same"), issuer.url()), "28000", "signature invalid", "");
    assert_eq!(issuer.requests().jwks, 1);
}

#[test]
fn unusable_keys_do_not_spoil_a_set() {
    let (key, other) = (es256("k"), SigningKey::generate(Alg::EdDsa, "other"));
    let mut encryption = es256("enc").public_jwk();
    encryption["use"] = json!("enc");
    let mut broken = es256("broken").public_jwk();
    broken["x"] = json!("AAAA");
    let unusual = json!({ "kty": "OKP", "crv": "X25519", "kid": "x", "x": "AAAA" });
    let issuer = Issuer::start();
    issuer.publish_json(json!({
        "keys": [encryption, broken, unusual, 7, null, key.public_jwk(), other.public_jwk()]
    }));
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    accepted(&mut client, &token(&key, issuer.url()));
    accepted(&mut client, &token(&other, issuer.url()));
}

#[test]
fn a_token_without_kid_is_verified_with_every_key_that_fits() {
    let (one, two, rsa) = (es256("one"), es256("two"), SigningKey::generate(Alg::Rs256, "rsa"));
    let issuer = Issuer::start();
    issuer.publish(&[&one, &rsa]);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let nameless =
        |key: &SigningKey| key.sign_with(&json!({ "alg": key.alg().name() }), &pg_test::claims(issuer.url(), "alice"));
    let mut client = app.connect();
    accepted(&mut client, &nameless(&one));
    accepted(&mut client, &nameless(&rsa));
    refused(&mut client, &nameless(&two), "28000", "signature invalid", "");
    issuer.publish(&[&one, &two, &rsa]);
    let mut client = app.connect();
    for key in [&one, &two, &rsa] {
        accepted(&mut client, &nameless(key));
    }
    refused(&mut client, &nameless(&es256("one")), "28000", "signature invalid", "");
}

#[test]
fn a_key_set_that_is_served_as_nothing_but_a_jwk_set_is_read() {
    let key = es256("one");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    issuer.set_fault_on(Document::Jwks, Fault::JwkSetOnly);
    accepted(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()));
}
