//! What operators see.

use pg_test::app::App;
use pg_test::login::{accepted, init, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Fault, Issuer, SigningKey};

use crate::server::{CLUSTER, preloaded, refresh, started, worker_pid};

#[test]
fn auth_jwks_shows_keys_with_their_times() {
    let (issuer, rsa, ec) =
        (Issuer::start(), SigningKey::generate(Alg::Rs256, "rsa"), SigningKey::generate(Alg::Es256, "ec"));
    issuer.publish(&[&rsa, &ec]);
    let app = App::of(&CLUSTER, &issuer, &[("jwks_cache_ttl", "100s")]);
    accepted(&mut app.connect(), &token(&rsa, issuer.url()));
    let query = "SELECT issuer, kid, kty, alg, use, source, stale, last_error,
                        extract(epoch FROM refresh_at - fetched_at)::float8, extract(epoch FROM expires_at - fetched_at)::float8,
                        fetched_at BETWEEN clock_timestamp() - interval '10s' AND clock_timestamp()
                   FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0 ORDER BY kid";
    // In a session of other settings, too.
    for mut admin in [app.admin(), CLUSTER.client()] {
        let rows = admin.query(query, &[&issuer.url()]).expect("auth.jwks()");
        let keys: Vec<(String, String, String)> = rows.iter().map(|row| (row.get(1), row.get(2), row.get(3))).collect();
        assert_eq!(
            keys,
            [("ec", "EC", "ES256"), ("rsa", "RSA", "RS256")].map(|(a, b, c)| (a.into(), b.into(), c.into()))
        );
        for row in &rows {
            assert_eq!(row.get::<_, &str>(0), issuer.url());
            assert_eq!(row.get::<_, &str>(4), "sig");
            assert_eq!(row.get::<_, &str>(5), format!("issuer \"{}\"", issuer.url()));
            assert!(!row.get::<_, bool>(6) && row.get::<_, Option<&str>>(7).is_none());
            let refresh: f64 = row.get(8);
            assert!((75.0..=80.0).contains(&refresh), "80 % of the life, less up to 5 %: {refresh}");
            assert!((row.get::<_, f64>(9) - 100.0).abs() < 0.001 && row.get::<_, bool>(10));
        }
    }
    issuer.set_fault(Fault::Status(502));
    refresh(&mut app.admin()).expect_err("the fetch fails");
    let query = "SELECT last_error, refresh_at > clock_timestamp(), stale FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0";
    let rows = app.admin().query(query, &[&issuer.url()]).expect("auth.jwks()");
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert!(row.get::<_, &str>(0).contains("answered 502") && row.get::<_, bool>(1) && !row.get::<_, bool>(2));
    }
}

#[test]
fn keys_that_have_expired_are_shown_as_stale() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(&CLUSTER, &issuer, &[("jwks_cache_ttl", "1s")]);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    issuer.set_fault(Fault::Refuse);
    eventually("stale keys", || {
        let query = "SELECT stale, last_error IS NOT NULL FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0";
        let row = app.admin().query_one(query, &[&issuer.url()]).expect("auth.jwks()");
        (row.get(0) && row.get(1)).then_some(())
    });
    accepted(&mut app.connect(), &token(&key, issuer.url()));
}

#[test]
fn auth_jwks_says_until_when_keys_serve_and_when_the_next_fetch_is() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(&CLUSTER, &issuer, &[("jwks_cache_ttl", "100s"), ("jwks_max_stale", "1000s")]);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    let query = "SELECT extract(epoch FROM serves_until - fetched_at)::float8, next_fetch = refresh_at, problem
                   FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0";
    let row = app.admin().query_one(query, &[&issuer.url()]).expect("auth.jwks()");
    assert!((row.get::<_, f64>(0) - 1000.0).abs() < 0.001);
    assert!(row.get::<_, bool>(1) && row.get::<_, Option<&str>>(2).is_none());
}

#[test]
fn a_key_that_cannot_be_used_is_a_row_with_the_reason() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish_json(
        serde_json::json!({ "keys": [key.public_jwk(), { "kty": "RSA", "kid": "broken", "n": "AQAB" }] }),
    );
    let app = App::of(&CLUSTER, &issuer, &[]);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    let query = "SELECT kid, problem, kty FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0 ORDER BY kid";
    let rows = app.admin().query(query, &[&issuer.url()]).expect("auth.jwks()");
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].get::<_, &str>(0), rows[0].get::<_, &str>(1)), ("broken", "no \"e\""));
    assert_eq!((rows[1].get::<_, &str>(0), rows[1].get::<_, Option<&str>>(1)), ("k", None));
}

/// The alert of `docs/operating.md`.
const ALERT: &str = "SELECT issuer, last_error FROM auth.jwks() WHERE stale OR last_error IS NOT NULL";

#[test]
fn the_alert_fires_in_an_outage_and_not_after_one() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let cluster = started(preloaded().setting("pg_jwks.issuer", issuer.url()).setting("pg_jwks.jwks_cache_ttl", "1s"));
    let alerts = || cluster.client().query(ALERT, &[]).expect("the alert").len();
    accepted(&mut App::new(&cluster, &[]).connect(), &token(&key, issuer.url()));
    eventually("quiet", || (alerts() == 0).then_some(()));
    issuer.set_fault(Fault::Status(503));
    eventually("the alert", || (alerts() == 1).then_some(()));
    issuer.set_fault(Fault::None);
    eventually("the end of the alert", || (alerts() == 0).then_some(()));
    // The operator moves to another provider in an outage: the former one is of no interest any more.
    issuer.set_fault(Fault::Status(503));
    eventually("the alert", || (alerts() == 1).then_some(()));
    let other = Issuer::start();
    other.publish(&[&key]);
    let mut admin = cluster.client();
    admin.batch_execute(&format!("ALTER SYSTEM SET pg_jwks.issuer = '{}'", other.url())).expect("ALTER SYSTEM");
    cluster.reload();
    eventually("the end of the alert", || (alerts() == 0).then_some(()));
    let sources = "SELECT count(*) FROM auth.jwks() WHERE position($1 || chr(34) in source) > 0";
    assert_eq!(admin.query_one(sources, &[&issuer.url()]).expect("auth.jwks()").get::<_, i64>(0), 0);
}

#[test]
fn auth_jwt_stats_counts_for_the_cluster() {
    let cluster = started(preloaded());
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(&cluster, &issuer, &[]);
    let good = token(&key, issuer.url());
    let mut session = app.connect();
    accepted(&mut session, &good);
    accepted(&mut session, &good);
    accepted(&mut app.connect(), &good);
    init(&mut session, "nonsense").expect_err("no token");
    init(&mut session, &token(&SigningKey::generate(Alg::Es256, "k"), issuer.url())).expect_err("a forgery");
    issuer.set_fault(Fault::Garbage);
    refresh(&mut app.admin()).expect_err("a failed fetch");
    let query = "SELECT accepted, cache_hits, rejected, rejected_by_reason::text, fetches, fetch_failures,
                        key_age BETWEEN interval '0' AND interval '1 min' FROM auth.jwt_stats";
    let row = cluster.client().query_one(query, &[]).expect("auth.jwt_stats");
    let numbers: Vec<i64> = [0, 1, 2, 4, 5].iter().map(|column| row.get(*column)).collect();
    assert_eq!(numbers, [3, 1, 2, 2, 1]);
    let reasons: serde_json::Value = serde_json::from_str(row.get(3)).expect("JSON");
    assert_eq!(reasons.as_object().expect("an object").len(), 2);
    assert_eq!(reasons["signature invalid"], 1, "{reasons}");
    assert!(row.get::<_, bool>(6));
}

#[test]
fn the_worker_is_in_pg_stat_activity() {
    let pid = worker_pid(&CLUSTER);
    let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a running process");
    assert!(title.contains("pg_jwks keys"), "{title:?}");
}

#[test]
fn a_refresh_of_several_issuers_names_those_that_failed() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let (good, bad) = (Issuer::start(), Issuer::start());
    good.publish(&[&key]);
    bad.set_fault(Fault::Status(500));
    let app = App::new(&CLUSTER, &[("issuer", &format!("{}, {}", good.url(), bad.url()))]);
    let error = refresh(&mut app.admin()).expect_err("one fails");
    assert!(error.contains(bad.url()) && !error.contains(good.url()), "{error}");
    let before = good.requests().jwks;
    refresh(&mut app.admin()).expect_err("one fails");
    assert_eq!(good.requests().jwks, before + 1, "the other is fetched");
    accepted(&mut app.connect(), &token(&key, good.url()));
}
