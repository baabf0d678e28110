//! A key that its issuer withdraws ends the identities that it made; keys that merely cannot be fetched do not.

use std::thread::sleep;
use std::time::Duration;

use crate::server::*;
use pg_test::cluster::Options;
use pg_test::login::token;
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, Fault, Issuer, SigningKey};

fn es256(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, kid)
}

fn options_of(issuer: &Issuer) -> Options {
    Cluster::options()
        .setting("pg_jwks.issuer", issuer.url())
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("pg_jwks.jwks_cache_ttl", "2s")
        .for_many_tests()
}

fn a_withdrawn_key_ends_its_identities(options: Options, issuer: &Issuer) {
    let (old, new) = (es256("old"), es256("new"));
    issuer.publish(&[&old, &new]);
    let cluster = started(options);
    let mut of_old = with_identity(cluster.connect("app", "app"), &token(&old, issuer.url()));
    let mut of_new = with_identity(cluster.connect("app", "app"), &token(&new, issuer.url()));
    issuer.publish(&[&new]);
    let refresh = "SELECT auth.jwks_refresh()";
    run(&mut admin(&cluster), refresh);
    // Without preloading each session has keys of its own, and learns when it fetches.
    run(&mut admin(&cluster), "GRANT EXECUTE ON FUNCTION auth.jwks_refresh() TO app");
    run(&mut of_old, refresh);
    run(&mut of_new, refresh);
    loses(&mut of_old, "key unknown");
    assert_eq!(notes(&mut of_new), [1, 3]);
    // The issuer publishes it again.
    issuer.publish(&[&old, &new]);
    run(&mut of_old, refresh);
    assert_eq!(notes(&mut of_old), [1, 3]);
}

#[test]
fn a_withdrawn_key_ends_its_identities_in_sessions_that_keep_their_own_keys() {
    let issuer = Issuer::start();
    a_withdrawn_key_ends_its_identities(options_of(&issuer), &issuer);
}

#[test]
fn a_withdrawn_key_ends_its_identities_in_a_cluster_that_shares_keys() {
    let issuer = Issuer::start();
    a_withdrawn_key_ends_its_identities(options_of(&issuer).setting("shared_preload_libraries", "pg_jwks"), &issuer);
}

/// The worker fetches by itself, and no session asks.
#[test]
fn a_session_that_only_reads_loses_the_identity_of_a_withdrawn_key() {
    let issuer = Issuer::start();
    let (old, new) = (es256("old"), es256("new"));
    issuer.publish(&[&old, &new]);
    let cluster = started(options_of(&issuer).setting("shared_preload_libraries", "pg_jwks"));
    let mut session = with_identity(cluster.connect("app", "app"), &token(&old, issuer.url()));
    issuer.publish(&[&new]);
    issuer.set_cache_control(Some("max-age=0"));
    run(&mut admin(&cluster), "SELECT auth.jwks_refresh()");
    eventually("the loss", || session.batch_execute("SELECT owner FROM note").err());
    loses(&mut session, "key unknown");
}

#[test]
fn keys_that_cannot_be_fetched_end_no_identity() {
    let issuer = Issuer::start();
    let key = es256("only");
    issuer.publish(&[&key]);
    let cluster = started(options_of(&issuer).setting("pg_jwks.jwks_max_stale", "1s"));
    let mut session = with_identity(cluster.connect("app", "app"), &token(&key, issuer.url()));
    issuer.set_fault(Fault::Status(503));
    sleep(Duration::from_millis(3100));
    let error = init(&mut cluster.connect("app", "app"), &token(&key, issuer.url())).expect_err("no keys");
    assert_eq!(error.message, "JWT rejected: keys unavailable");
    assert_eq!(notes(&mut session), [1, 3]);
    // Nor do settings that have keys fetched anew.
    set_for_all(&cluster, &mut session, "fetch_timeout", Some("4s"));
    assert_eq!(notes(&mut session), [1, 3]);
    issuer.publish(&[&es256("other")]);
    issuer.set_fault(Fault::None);
    set_for_all(&cluster, &mut session, "fetch_timeout", Some("3s"));
    eventually("the loss", || session.batch_execute("SELECT owner FROM note").err());
    loses(&mut session, "key unknown");
}
