//! Verified tokens that a backend remembers.

use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, init, refused, sees, token};
use pg_test::{Alg, Issuer, SigningKey, claims, now};
use postgres::Client;
use serde_json::json;

/// The least time of several logins with one token: the machine's other work does not count.
fn least_time(client: &mut Client, token: &str) -> Duration {
    let statement = client.prepare("SELECT auth.jwt_session_init($1)").expect("PREPARE");
    let mut times = (0..200).map(|_| {
        let start = Instant::now();
        client.execute(&statement, &[&token]).expect("a good token");
        start.elapsed()
    });
    times.by_ref().min().expect("200 logins")
}

#[test]
fn a_token_seen_again_is_neither_verified_nor_fetched_for() {
    // Each of these keys is tried before the right one, so that a verification takes long.
    let keys: Vec<_> = (0..4).map(|_| SigningKey::rsa(Alg::Rs256, "same", 4096)).collect();
    let issuer = Issuer::start();
    issuer.publish(&keys.iter().collect::<Vec<_>>());
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let token = token(&keys[3], issuer.url());
    let remembered = least_time(&mut app.connect(), &token);
    app.set("token_cache_size", "0");
    let verified = least_time(&mut app.connect(), &token);
    assert!(verified > remembered * 3 / 2, "verified {verified:?}, remembered {remembered:?}");
    assert_eq!(issuer.requests().jwks, 2, "one for each backend");
}

#[test]
fn a_cache_of_no_tokens_works() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("token_cache_size", "0")]).connect();
    let good = token(&key, issuer.url());
    for _ in 0..3 {
        accepted(&mut client, &good);
    }
    refused(
        &mut client,
        &token(&SigningKey::generate(Alg::Es256, "k"), issuer.url()),
        "28000",
        "signature invalid",
        "",
    );
    accepted(&mut client, &good);
    assert_eq!(issuer.requests().jwks, 1);
}

#[test]
fn a_cache_forgets_and_verifies_again() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("token_cache_size", "2")]).connect();
    let tokens: Vec<_> = (0..5).map(|_| token(&key, issuer.url())).collect();
    for _ in 0..3 {
        for token in &tokens {
            accepted(&mut client, token);
        }
    }
}

#[test]
fn a_cached_token_is_checked_for_exp_again() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("leeway", "0")]).connect();
    let mut short = claims(issuer.url(), "alice");
    short["exp"] = json!(now() + 2);
    let short = key.sign(&short);
    accepted(&mut client, &short);
    while now() < claims_exp(&short) {
        std::thread::sleep(Duration::from_millis(50));
    }
    refused(&mut client, &short, "28000", "token expired", "The token expired ");
}

fn claims_exp(token: &str) -> i64 {
    use base64::Engine;
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    let claims: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    claims["exp"].as_i64().expect("exp")
}

#[test]
fn a_token_is_remembered_by_its_whole_text() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[]).connect();
    let good = token(&key, issuer.url());
    accepted(&mut client, &good);
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let other = token(&key, issuer.url());
    let (other_signed, other_signature) = other.rsplit_once('.').expect("a signature");
    for forged in [format!("{signed}.{other_signature}"), format!("{other_signed}.{signature}")] {
        refused(&mut client, &forged, "28000", "signature invalid", "");
    }
    for malformed in [format!("{good}="), format!(" {good}"), format!("{good}."), signed.to_owned()] {
        assert_eq!(init(&mut client, &malformed).expect_err("malformed").sqlstate, "22023");
        assert!(sees(&mut client).is_empty());
    }
}
