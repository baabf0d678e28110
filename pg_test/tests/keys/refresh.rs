//! Keys are refreshed before they end, behind the back of logins.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, init, token};
use pg_test::{Alg, Fault, Issuer, SigningKey};
use postgres::Client;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long a login takes.
fn login(client: &mut Client, token: &str) -> Duration {
    let start = Instant::now();
    init(client, token).expect("a good token");
    start.elapsed()
}

#[test]
fn a_refresh_in_the_background_makes_no_login_wait() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Delay(ms(400)));
    let app = App::of(&NOT_PRELOADED, &issuer, &[("jwks_uri", &issuer.jwks_uri()), ("jwks_cache_ttl", "5s")]);
    let mut client = app.connect();
    let start = Instant::now();
    assert!(login(&mut client, &token(&key, issuer.url())) >= ms(400), "the first login waits");
    sleep(ms(3800).saturating_sub(start.elapsed()));
    assert!(login(&mut client, &token(&key, issuer.url())) < ms(200));
    assert_eq!(issuer.requests().jwks, 1, "not before 80 % of the life");
    // From 4 s on the refresh is due, and at 5 s the keys would end.
    sleep(ms(4100).saturating_sub(start.elapsed()));
    for _ in 0..3 {
        let time = login(&mut client, &token(&key, issuer.url()));
        assert!(time < ms(200), "a login waited {time:?}");
    }
    // At 8.1 s the refreshed keys are due; until then there is nothing to do.
    while start.elapsed() < ms(6000) {
        let time = login(&mut client, &token(&key, issuer.url()));
        assert!(time < ms(200), "a login waited {time:?}");
        sleep(ms(100));
    }
    assert_eq!(issuer.requests().jwks, 2, "one refresh at a time");
}

#[test]
fn cache_control_does_not_turn_each_login_into_a_fetch() {
    let key = SigningKey::generate(Alg::Es256, "k");
    for header in
        ["max-age=0", "no-store", "no-cache, max-age=0", "max-age=60", "max-age=99999999999999", "max-age=-1", "="]
    {
        let issuer = Issuer::start();
        issuer.publish(&[&key]);
        issuer.set_cache_control(Some(header));
        let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
        for _ in 0..3 {
            accepted(&mut client, &token(&key, issuer.url()));
        }
        assert_eq!(issuer.requests().jwks, 1, "{header}");
    }
}

#[test]
fn cache_control_does_not_lengthen_the_life_of_keys() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    issuer.set_cache_control(Some("public, max-age=86400"));
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("jwks_cache_ttl", "1s")]).connect();
    accepted(&mut client, &token(&key, issuer.url()));
    sleep(ms(1100));
    accepted(&mut client, &token(&key, issuer.url()));
    assert_eq!(issuer.requests().jwks, 2);
}
