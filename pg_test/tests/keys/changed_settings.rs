//! Settings change under the feet of sessions: the next login goes by the new ones, cached tokens included.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED, assignment};
use pg_test::login::{accepted, init, key_unknown, refused, token, unavailable};
use pg_test::{Alg, Authority, Cluster, Issuer, Requests, SigningKey, Validity, jwks, pg_error};
use postgres::Client;

/// A superuser's session, which changes settings, and acts as a plain role otherwise.
struct Session {
    client: Client,
    app: App<'static>,
}

impl Session {
    fn new() -> Self {
        let (mut client, app) = (NOT_PRELOADED.client(), App::new(&NOT_PRELOADED, &[]));
        client.batch_execute(&format!("LOAD 'pg_jwks'; SET ROLE {}", app.role())).expect("SET ROLE");
        Self { client, app }
    }

    fn set(&mut self, name: &str, value: &str) {
        let set = format!("RESET ROLE; SET {}; SET ROLE {}", assignment(name, value), self.app.role());
        self.client.batch_execute(&set).expect("SET");
    }
}

#[test]
fn a_remembered_token_does_not_outlive_the_settings_that_accepted_it() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let url = issuer.url().to_owned();
    let good = token(&key, &url);
    for (name, good_value, bad_value, reason) in [
        ("audience", "app", "shop", "audience not accepted"),
        ("audience", "*", "shop", "audience not accepted"),
        ("issuer", &url, "https://other.example", "issuer not accepted"),
        ("allowed_algorithms", "RS256,ES256", "RS256", "algorithm not allowed"),
        ("required_scope", "", "read", "scope missing"),
        ("token_type", "any", "access", "token type not accepted"),
    ] {
        let mut session = Session::new();
        session.set("issuer", &url);
        session.set(name, good_value);
        accepted(&mut session.client, &good);
        session.set(name, bad_value);
        refused(&mut session.client, &good, "28000", reason, "");
        session.set(name, good_value);
        accepted(&mut session.client, &good);
    }
}

#[test]
fn a_remembered_token_does_not_outlive_its_keys() {
    let (old, new) = (SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
    let (one, two) = (Issuer::start(), Issuer::start());
    one.publish(&[&old]);
    two.publish(&[&new]);
    let mut session = Session::new();
    session.set("issuer", "me");
    let (old_token, new_token) = (token(&old, "me"), token(&new, "me"));
    let inline = |key: &SigningKey| jwks(&[key]).to_string();
    for (name, old_value, new_value) in
        [("jwks_uri", one.jwks_uri(), two.jwks_uri()), ("jwks", inline(&old), inline(&new))]
    {
        session.set(name, &old_value);
        accepted(&mut session.client, &old_token);
        session.set(name, &new_value);
        key_unknown(&mut session.client, &old_token);
        accepted(&mut session.client, &new_token);
    }
}

#[test]
fn a_setting_that_is_rolled_back_is_back() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut client = NOT_PRELOADED.client();
    client.batch_execute("LOAD 'pg_jwks'").expect("LOAD");
    client.batch_execute(&format!("SET {}", assignment("issuer", issuer.url()))).expect("SET");
    let good = token(&key, issuer.url());
    init(&mut client, &good).expect("a good token");
    client.batch_execute("BEGIN; SET LOCAL pg_jwks.audience = 'shop'").expect("SET LOCAL");
    assert_eq!(init(&mut client, &good).expect_err("another audience").message, "JWT rejected: audience not accepted");
    client.batch_execute("ROLLBACK").expect("ROLLBACK");
    init(&mut client, &good).expect("a good token again");
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 }, "the keys stay the same");
}

#[test]
fn keys_fetched_without_tls_do_not_count_once_tls_is_required() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let mut session = Session::new();
    session.set("issuer", issuer.url());
    let good = token(&key, issuer.url());
    accepted(&mut session.client, &good);
    session.set("allow_insecure_http", "off");
    unavailable(&mut session.client, &good, "without TLS.");
}

#[test]
fn keys_fetched_under_other_trust_roots_do_not_count() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let authority = Authority::new();
    let issuer = Issuer::start_tls(&authority.issue("localhost", Validity::Valid));
    issuer.publish(&[&key]);
    let mut session = Session::new();
    session.set("issuer", issuer.url());
    let roots = NOT_PRELOADED.write_file("former_roots.pem", &authority.pem());
    session.set("ca_file", &roots.to_string_lossy());
    let good = token(&key, issuer.url());
    accepted(&mut session.client, &good);
    session.set("ca_file", "");
    unavailable(&mut session.client, &good, "certificate");
    session.set("ca_file", &roots.to_string_lossy());
    accepted(&mut session.client, &good);
    assert_eq!(issuer.requests().jwks, 1);
}

#[test]
fn configuration_files_apply_at_the_next_login() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = Issuer::start();
    issuer.publish(&[&key]);
    let cluster = Cluster::options()
        .setting("pg_jwks.issuer", issuer.url())
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allow_insecure_http", "on")
        .start();
    let mut admin = cluster.client();
    admin.batch_execute("CREATE EXTENSION pg_jwks; CREATE ROLE plain LOGIN").expect("CREATE EXTENSION");
    let mut client = cluster.connect("plain", "postgres");
    let good = token(&key, issuer.url());
    init(&mut client, &good).expect("a good token");
    let mut comes_to = |value: &str, expected: Option<&str>| {
        admin.batch_execute(&format!("ALTER SYSTEM SET pg_jwks.audience = '{value}'")).expect("ALTER SYSTEM");
        cluster.reload();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let error = init(&mut client, &good).err().map(|error| error.message);
            if error.as_deref() == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{value}: {error:?}");
            sleep(Duration::from_millis(10));
        }
    };
    comes_to("shop", Some("JWT rejected: audience not accepted"));
    comes_to("shop, app", None);
    comes_to("", Some("JWT rejected: no audience configured"));
    comes_to("*", None);
    // What no check hook would let pass is refused, and the former value stays.
    let error = admin.batch_execute("ALTER SYSTEM SET pg_jwks.audience = '*,app'").expect_err("nonsense");
    assert_eq!(pg_error(&error).sqlstate, "22023");
    assert_eq!(issuer.requests().jwks, 1);
}
