//! Many issuers, known to the server, to a database or to a role.

use std::time::{Duration, Instant};

use pg_test::app::App;
use pg_test::login::{accepted, init, sees, token, unavailable};
use pg_test::wait::eventually;
use pg_test::{Alg, Fault, Issuer, Requests, SigningKey};
use serde_json::json;

use crate::server::{CLUSTER, install, last_error, preloaded, refresh, started};

fn issuers(count: usize, key: &SigningKey) -> Vec<Issuer> {
    let issuers: Vec<_> = (0..count).map(|_| Issuer::start()).collect();
    issuers.iter().for_each(|issuer| issuer.publish(&[key]));
    issuers
}

fn providers(issuers: &[Issuer]) -> String {
    json!(issuers.iter().map(|issuer| json!({ "issuer": issuer.url(), "audience": "app" })).collect::<Vec<_>>())
        .to_string()
}

#[test]
fn a_database_has_an_issuer_of_its_own() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuers = issuers(2, &key);
    let mut admin = CLUSTER.client();
    let app = App::new(&CLUSTER, &[]);
    for (db, issuer) in ["db_one", "db_two"].iter().zip(&issuers) {
        admin.batch_execute(&format!("CREATE DATABASE {db}")).expect("CREATE DATABASE");
        install(&CLUSTER, db);
        let statement = format!("ALTER DATABASE {db} SET pg_jwks.issuer = '{}'", issuer.url());
        admin.batch_execute(&statement).expect("ALTER DATABASE");
    }
    let connect = |db| CLUSTER.connect(app.role(), db);
    for _ in 0..3 {
        accepted(&mut connect("db_one"), &token(&key, issuers[0].url()));
        accepted(&mut connect("db_two"), &token(&key, issuers[1].url()));
    }
    let error = init(&mut connect("db_one"), &token(&key, issuers[1].url())).expect_err("the other's token");
    assert_eq!(error.message, "JWT rejected: issuer not accepted");
    for issuer in &issuers {
        assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
    }
}

#[test]
fn the_server_fetches_the_keys_of_all_its_providers_at_the_start() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuers = issuers(40, &key);
    let cluster = started(preloaded().setting("pg_jwks.providers", &providers(&issuers)));
    let app = App::new(&cluster, &[]);
    for issuer in &issuers {
        eventually("a fetch", || (issuer.requests().jwks == 1).then_some(()));
    }
    let mut session = app.connect();
    issuers.iter().for_each(|issuer| accepted(&mut session, &token(&key, issuer.url())));
    let rows: i64 = cluster.client().query_one("SELECT count(*) FROM auth.jwks()", &[]).expect("auth.jwks()").get(0);
    assert_eq!(rows, 40);
    assert!(issuers.iter().all(|issuer| issuer.requests() == Requests { discovery: 1, jwks: 1 }));
}

/// Each customer has an issuer, and all have their keys at one slow server.
#[test]
fn a_thousand_issuers_are_fetched_a_few_at_a_time_and_those_first_for_whom_somebody_waits() {
    const COUNT: usize = 1000;
    let key = SigningKey::generate(Alg::Es256, "k");
    let server = Issuer::start();
    server.publish(&[&key]);
    server.set_fault(Fault::Hang);
    let customer = |number| format!("https://customer-{number}.example/");
    let entry = |number| json!({ "issuer": customer(number), "audience": "app", "jwks_uri": format!("{}?{number}", server.jwks_uri()) });
    let cluster = started(
        preloaded()
            .setting("pg_jwks.max_key_sources", "1100")
            .setting("pg_jwks.fetch_timeout", "60s")
            .setting("pg_jwks.providers", &json!((0..COUNT).map(entry).collect::<Vec<_>>()).to_string()),
    );
    let app = App::new(&cluster, &[]);
    let asked = || server.requests().jwks;
    eventually("fetches at the start", || (asked() == 8).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(asked(), 8, "no more at once");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| accepted(&mut app.connect(), &token(&key, &customer(COUNT - 1))));
        eventually("a fetch of the keys that a session waits for", || (asked() == 9).then_some(()));
        server.set_fault(Fault::None);
        waiting.join().expect("accepted at last");
    });
    let mut admin = cluster.client();
    eventually("the keys of all", || {
        let keys: i64 = admin.query_one("SELECT count(kid) FROM auth.jwks()", &[]).expect("auth.jwks()").get(0);
        (keys == COUNT as i64).then_some(())
    });
    assert_eq!(asked(), COUNT);
    let mut session = app.connect();
    (0..COUNT).step_by(100).for_each(|number| accepted(&mut session, &token(&key, &customer(number))));
    let error = init(&mut session, &token(&key, &customer(COUNT))).expect_err("nobody's token");
    assert_eq!(error.message, "JWT rejected: issuer not accepted");
    let log = cluster.log();
    let detail = log.lines().find(|line| line.contains("issuer not accepted")).expect("the audit log");
    assert!(detail.contains("or one of 992 more.") && detail.len() < 2000, "{detail}");
}

#[test]
fn a_slow_issuer_delays_nobody_else() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuers = issuers(4, &key);
    issuers[0].set_fault(Fault::Hang);
    let app = App::new(&CLUSTER, &[("providers", &providers(&issuers)), ("fetch_timeout", "10s")]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| accepted(&mut app.connect(), &token(&key, issuers[0].url())));
        eventually("a request", || (issuers[0].requests().discovery > 0).then_some(()));
        let mut session = app.connect();
        for issuer in &issuers[1..] {
            let begun = Instant::now();
            accepted(&mut session, &token(&key, issuer.url()));
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
        issuers[0].set_fault(Fault::None);
        waiting.join().expect("accepted at last");
    });
}

#[test]
fn a_session_that_waited_in_vain_for_one_issuer_does_not_give_up_on_others() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuers = issuers(2, &key);
    issuers[0].set_fault(Fault::Hang);
    let app = App::new(&CLUSTER, &[("providers", &providers(&issuers)), ("fetch_timeout", "300ms")]);
    let mut session = app.connect();
    unavailable(&mut session, &token(&key, issuers[0].url()), "took too long");
    accepted(&mut session, &token(&key, issuers[1].url()));
}

#[test]
fn a_set_that_does_not_fit_is_refused_in_words_and_the_former_one_stays() {
    let cluster = started(preloaded().setting("pg_jwks.shared_cache_size", "64kB"));
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuers = issuers(2, &key);
    let (one, two) = (App::of(&cluster, &issuers[0], &[]), App::of(&cluster, &issuers[1], &[]));
    accepted(&mut one.connect(), &token(&key, issuers[0].url()));
    let mut large = pg_test::jwks(&[&key]);
    large["padding"] = "x".repeat(70_000).into();
    for issuer in &issuers {
        issuer.publish_json(large.clone());
        issuer.set_etags(true);
    }
    let error = refresh(&mut one.admin()).expect_err("it does not fit");
    assert!(error.contains("pg_jwks.shared_cache_size"), "{error:?}");
    // Asking again must not take the answer "unchanged" for the set that was refused.
    refresh(&mut one.admin()).expect_err("it still does not fit");
    accepted(&mut one.connect(), &token(&key, issuers[0].url()));
    let (shown, keys) = last_error(&mut one.admin(), issuers[0].url());
    assert!(shown.is_some_and(|error| error.contains("pg_jwks.shared_cache_size")) && keys == 1);
    unavailable(&mut two.connect(), &token(&key, issuers[1].url()), "pg_jwks.shared_cache_size");
    assert!(cluster.log().contains("raise pg_jwks.shared_cache_size"));
}

#[test]
fn sources_beyond_the_slots_are_refused_in_words_and_none_gets_the_keys_of_another() {
    let cluster = started(preloaded());
    let (key, other) = (SigningKey::generate(Alg::Es256, "k"), SigningKey::generate(Alg::Es256, "k"));
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let app = App::of(&cluster, &issuer, &[]);
    let mut session = app.connect();
    accepted(&mut session, &token(&key, issuer.url()));
    let mut admin = app.admin();
    // 128 slots, one of which is taken.
    for stale in 1..128 {
        admin
            .execute("SELECT set_config('pg_jwks.jwks_max_stale', $1, false)", &[&format!("{}s", 1000 + stale)])
            .expect("SET");
        init(&mut admin, &token(&key, issuer.url())).expect("a slot is free");
    }
    admin.batch_execute("SET pg_jwks.jwks_max_stale = '9999s'").expect("SET");
    let error = init(&mut admin, &token(&key, issuer.url())).expect_err("no slot is free");
    assert_eq!(error.sqlstate, "55000");
    let words = "All slots of the shared key cache (pg_jwks.max_key_sources) are in use";
    assert!(error.detail.as_deref().is_some_and(|detail| detail.contains(words)), "{error:?}");
    assert!(error.hint.is_some(), "{error:?}");
    let log = cluster.log();
    assert!(log.lines().any(|line| line.contains("pg_jwks audit") && line.contains(words)), "{log}");
    let mark = cluster.log_mark();
    accepted(&mut session, &token(&key, issuer.url()));
    assert!(!cluster.log_since(mark).contains("slot"), "sources that have a slot keep it");
    let error = init(&mut session, &token(&other, issuer.url())).expect_err("a forgery");
    assert_eq!(error.message, "JWT rejected: signature invalid");
    assert!(sees(&mut session).is_empty());
}

#[test]
fn a_database_with_sources_without_end_locks_no_other_out() {
    let cluster = started(preloaded());
    let key = SigningKey::generate(Alg::Es256, "k");
    let (greedy, other, configured) = (Issuer::start(), Issuer::start(), Issuer::start());
    [&greedy, &other, &configured].iter().for_each(|issuer| issuer.publish(&[&key]));
    let mut admin = App::of(&cluster, &greedy, &[]).admin();
    for stale in 0..128 {
        admin
            .execute("SELECT set_config('pg_jwks.jwks_max_stale', $1, false)", &[&format!("{}s", 1000 + stale)])
            .expect("SET");
        init(&mut admin, &token(&key, greedy.url())).expect("a slot is free");
    }
    cluster.client().batch_execute("CREATE DATABASE elsewhere").expect("CREATE DATABASE");
    install(&cluster, "elsewhere");
    let app = App::of(&cluster, &other, &[]);
    accepted(&mut cluster.connect(app.role(), "elsewhere"), &token(&key, other.url()));

    let mark = cluster.log_mark();
    let statement = format!("ALTER SYSTEM SET pg_jwks.issuer = '{}'", configured.url());
    cluster.client().batch_execute(&statement).expect("ALTER SYSTEM");
    cluster.reload();
    eventually("a fetch for the server's own settings", || (configured.requests().jwks > 0).then_some(()));
    assert!(!cluster.log_since(mark).contains("no slot of the shared key cache is free"));
}
