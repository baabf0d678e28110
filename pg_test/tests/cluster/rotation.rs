//! Keys come and go.

use std::thread;
use std::time::{Duration, Instant};

use pg_test::app::App;
use pg_test::login::{accepted, key_unknown, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Issuer, Requests, SigningKey};

use crate::server::{CLUSTER, refresh};

fn key(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, kid)
}

fn issuer(keys: &[&SigningKey]) -> Issuer {
    let issuer = Issuer::start();
    issuer.publish(keys);
    issuer
}

#[test]
fn a_new_key_verifies_at_once_with_one_request() {
    let (old, new) = (key("old"), key("new"));
    let issuer = issuer(&[&old]);
    let app = App::of(&CLUSTER, &issuer, &[]);
    let mut sessions: Vec<_> = (0..4).map(|_| app.connect()).collect();
    sessions.iter_mut().for_each(|session| accepted(session, &token(&old, issuer.url())));
    issuer.publish(&[&old, &new]);
    issuer.reset_requests();
    sessions.iter_mut().for_each(|session| accepted(session, &token(&new, issuer.url())));
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
}

#[test]
fn a_withdrawn_key_stops_at_the_refresh_in_every_session() {
    let (kept, withdrawn) = (key("kept"), key("withdrawn"));
    let issuer = issuer(&[&kept, &withdrawn]);
    let app = App::of(&CLUSTER, &issuer, &[]);
    let remembered = token(&withdrawn, issuer.url());
    let mut sessions: Vec<_> = (0..3).map(|_| app.connect()).collect();
    // Twice: the second time it is one that the backend remembers.
    for _ in 0..2 {
        sessions.iter_mut().for_each(|session| accepted(session, &remembered));
    }
    issuer.publish(&[&kept]);
    sessions.iter_mut().for_each(|session| accepted(session, &remembered));
    refresh(&mut app.admin()).expect("a fetch");
    for session in &mut sessions {
        key_unknown(session, &remembered);
        key_unknown(session, &token(&withdrawn, issuer.url()));
        accepted(session, &token(&kept, issuer.url()));
    }
}

#[test]
fn a_key_is_withdrawn_without_anybody_asking() {
    let (kept, withdrawn) = (key("kept"), key("withdrawn"));
    let issuer = issuer(&[&kept, &withdrawn]);
    let app = App::of(&CLUSTER, &issuer, &[("jwks_cache_ttl", "2s")]);
    let (mut session, token) = (app.connect(), token(&withdrawn, issuer.url()));
    accepted(&mut session, &token);
    issuer.publish(&[&kept]);
    let published = Instant::now();
    // Nobody verifies: the worker refreshes by itself.
    let requests = issuer.requests().jwks;
    eventually("a refresh", || (issuer.requests().jwks > requests).then_some(()));
    assert!(published.elapsed() < Duration::from_millis(2500), "{:?}", published.elapsed());
    thread::sleep(Duration::from_millis(200));
    key_unknown(&mut session, &token);
}

#[test]
fn a_flood_of_unknown_keys_causes_no_more_requests_than_the_cooldown_allows() {
    const FLOOD: Duration = Duration::from_secs(10);
    const COOLDOWN: Duration = Duration::from_secs(2);
    let (good, unknown) = (key("good"), key("unknown"));
    let issuer = issuer(&[&good]);
    let app = App::of(&CLUSTER, &issuer, &[("jwks_refresh_cooldown", "2s"), ("audit_log", "off")]);
    accepted(&mut app.connect(), &token(&good, issuer.url()));
    issuer.reset_requests();
    let end = Instant::now() + FLOOD;
    let (flood, verified) = thread::scope(|scope| {
        let flood: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut session = app.connect();
                    let mut count = 0;
                    while Instant::now() < end {
                        key_unknown(&mut session, &token(&unknown, issuer.url()));
                        count += 1;
                        thread::sleep(Duration::from_millis(1));
                    }
                    count
                })
            })
            .collect();
        let mut session = app.connect();
        let mut verified = 0;
        while Instant::now() < end {
            accepted(&mut session, &token(&good, issuer.url()));
            verified += 1;
        }
        (flood.into_iter().map(|thread| thread.join().expect("refused")).sum::<usize>(), verified)
    });
    let requests = issuer.requests();
    let allowed = usize::try_from(FLOOD.as_secs() / COOLDOWN.as_secs()).expect("a few") + 2;
    println!("{flood} tokens with unknown keys and {verified} good ones in {FLOOD:?}: {requests:?}");
    assert!((1..=allowed).contains(&requests.jwks) && requests.discovery == requests.jwks, "{requests:?}");
    assert!(flood > 100 && verified > 50, "{flood}, {verified}");
}

#[test]
fn an_unchanged_key_set_is_not_sent_again() {
    let (old, new) = (key("old"), key("new"));
    let issuer = issuer(&[&old]);
    issuer.set_etags(true);
    let app = App::of(&CLUSTER, &issuer, &[]);
    let (mut session, mut admin) = (app.connect(), app.admin());
    accepted(&mut session, &token(&old, issuer.url()));
    let fetched_at = |admin: &mut postgres::Client| -> String {
        let query = "SELECT max(fetched_at)::text FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0";
        admin.query_one(query, &[&issuer.url()]).expect("auth.jwks()").get(0)
    };
    let before = fetched_at(&mut admin);
    refresh(&mut admin).expect("a fetch");
    assert_eq!(issuer.not_modified(), 1);
    assert!(fetched_at(&mut admin) > before, "304 renews the keys");
    accepted(&mut session, &token(&old, issuer.url()));
    issuer.publish(&[&new]);
    refresh(&mut admin).expect("a fetch");
    assert_eq!(issuer.not_modified(), 1);
    accepted(&mut session, &token(&new, issuer.url()));
    key_unknown(&mut session, &token(&old, issuer.url()));
}
