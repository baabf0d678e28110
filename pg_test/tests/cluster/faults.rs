//! A provider misbehaves: good keys stay in force, and `auth.jwks()` says what happened.

use std::fs;
use std::time::Duration;

use pg_test::app::App;
use pg_test::login::{accepted, init, token, unavailable};
use pg_test::wait::eventually;
use pg_test::{Alg, Authority, Document, Fault, Issuer, SigningKey, Validity};

use crate::server::{CLUSTER, last_error, refresh};

/// Long enough for a busy machine to make an oversized answer.
const SETTINGS: &[(&str, &str)] = &[("fetch_timeout", "3s"), ("connect_timeout", "1s")];

fn faults() -> Vec<(Fault, &'static str)> {
    vec![
        (Fault::Hang, "took too long"),
        (Fault::Delay(Duration::from_secs(5)), "took too long"),
        (Fault::Trickle(Duration::from_millis(100)), "took too long"),
        (Fault::Status(500), "answered 500"),
        (Fault::Status(404), "answered 404"),
        (Fault::Garbage, "not"),
        (Fault::EmptySet, "no"),
        (Fault::Oversized(50 << 20), "more than"),
        (Fault::Redirect("http://127.0.0.1:1/".into()), "redirects are not followed"),
        (Fault::WrongIssuer, "issuer"),
        (Fault::Truncated, "failed"),
        (Fault::Refuse, "failed"),
    ]
}

#[test]
fn good_keys_stay_in_force_whatever_the_provider_does() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(&CLUSTER, &issuer, SETTINGS);
    let (mut session, mut admin) = (app.connect(), app.admin());
    accepted(&mut session, &token(&key, issuer.url()));
    for (fault, words) in faults() {
        let waits = matches!(fault, Fault::Hang | Fault::Delay(_) | Fault::Trickle(_));
        let documents = match fault {
            Fault::WrongIssuer => &[Document::Discovery][..],
            _ if waits || fault == Fault::EmptySet => &[Document::Jwks],
            _ => &[Document::Discovery, Document::Jwks],
        };
        for &document in documents {
            issuer.set_fault_on(document, fault.clone());
            let error = refresh(&mut admin).expect_err("the fetch fails");
            assert!(error.contains(words), "{fault:?}: {error:?} has no {words:?}");
            let (shown, keys) = last_error(&mut admin, issuer.url());
            let shown = shown.unwrap_or_default();
            assert!(error.contains(&shown) && shown.contains(words) && keys == 1, "{fault:?}: {shown:?}, {keys} keys");
            assert!(shown.ends_with('.') && !shown.contains('\n'), "{shown:?}");
            accepted(&mut session, &token(&key, issuer.url()));
            accepted(&mut app.connect(), &token(&key, issuer.url()));
            issuer.set_fault_on(document, Fault::None);
        }
    }
    refresh(&mut admin).expect("the provider is well again");
    assert_eq!(last_error(&mut admin, issuer.url()), (None, 1));
}

#[test]
fn without_good_keys_every_fault_refuses_with_its_reason() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    for (fault, words) in faults() {
        issuer.set_fault(fault.clone());
        // Under other settings it is another source, about which nothing is known.
        let app = App::of(&CLUSTER, &issuer, SETTINGS);
        app.set("jwks_max_stale", &format!("{}s", 1000 + pg_test::login::unique()));
        unavailable(&mut app.connect(), &token(&key, issuer.url()), words);
    }
}

#[test]
fn a_provider_that_is_gone_is_retried_with_pauses_that_grow() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Status(503));
    let app = App::of(&CLUSTER, &issuer, &[("jwks_refresh_cooldown", "1h")]);
    let mut session = app.connect();
    unavailable(&mut session, &token(&key, issuer.url()), "answered 503");
    // Pauses of 0.8 to 1 s, then of 1.6 to 2 s: nobody's asking makes them shorter.
    let end = std::time::Instant::now() + Duration::from_millis(3500);
    while std::time::Instant::now() < end {
        unavailable(&mut session, &token(&key, issuer.url()), "answered 503");
        std::thread::sleep(Duration::from_millis(20));
    }
    let requests = issuer.requests().discovery;
    assert!((2..=3).contains(&requests), "{requests} requests in 3.5 s");
    issuer.set_fault(Fault::None);
    let mark = CLUSTER.log_mark();
    refresh(&mut app.admin()).expect("a fetch that somebody asks for does not wait");
    let again = format!("keys are had again from issuer \"{}\", after ", issuer.url());
    eventually("a line in the log", || CLUSTER.log_since(mark).contains(&again).then_some(()));
    accepted(&mut session, &token(&key, issuer.url()));
}

#[test]
fn bad_tls_leaves_good_keys_in_force() {
    let (authority, other) = (Authority::new(), Authority::new());
    let issuer = Issuer::start_tls(&authority.issue("127.0.0.1", Validity::Valid));
    let key = SigningKey::generate(Alg::Es256, "k");
    issuer.publish(&[&key]);
    let ca_file = CLUSTER.write_file("authority.pem", &authority.pem());
    let app = App::of(&CLUSTER, &issuer, &[("ca_file", &ca_file.to_string_lossy()), ("allow_insecure_http", "off")]);
    let (mut session, mut admin) = (app.connect(), app.admin());
    accepted(&mut session, &token(&key, issuer.url()));
    fs::write(&ca_file, other.pem()).expect("another authority");
    refresh(&mut admin).expect_err("a certificate of nobody's");
    let (error, keys) = last_error(&mut admin, issuer.url());
    assert!(error.as_deref().is_some_and(|error| error.contains("certificate")) && keys == 1, "{error:?}");
    accepted(&mut session, &token(&key, issuer.url()));
}

#[test]
fn raising_max_stale_keeps_people_in_while_the_provider_is_down() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(&CLUSTER, &issuer, &[("jwks_cache_ttl", "1s"), ("jwks_max_stale", "2s")]);
    let good = || token(&key, issuer.url());
    accepted(&mut app.connect(), &good());
    issuer.set_fault(Fault::Status(503));
    let mut session = app.connect();
    eventually("keys that are too stale", || init(&mut session, &good()).is_err().then_some(()));
    let error = unavailable(&mut session, &good(), "The last try was ");
    assert!(error.hint.expect("a hint").contains("pg_jwks.jwks_max_stale"));
    app.set("jwks_max_stale", "1d");
    accepted(&mut app.connect(), &good());
}
