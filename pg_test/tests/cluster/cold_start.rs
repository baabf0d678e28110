//! The first verification of a new backend.

use pg_test::bench_keys::first_verification;
use pg_test::login::token;
use pg_test::{Alg, Issuer, SigningKey};

use crate::server::{preloaded, started};

#[test]
fn a_new_backend_needs_no_network_and_little_more_than_a_warm_one() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Rs256, "k"));
    issuer.publish(&[&key]);
    let shared = started(preloaded().setting("pg_jwks.issuer", issuer.url()));
    let own = started(
        preloaded()
            .setting("pg_jwks.issuer", issuer.url())
            .setting("shared_preload_libraries", "")
            .setting("pg_jwks.shared_cache_size", "2MB"),
    );
    let before = issuer.requests();
    let figures = first_verification(101, &shared, &own, || token(&key, issuer.url()));
    println!("first verification: {figures:?}, cold start {:?}", figures.cold_start());
    let fetched = issuer.requests().jwks - before.jwks;
    assert!((101..=102).contains(&fetched), "{fetched} fetches by those that are not preloaded, and by the worker");
    // How long it takes, `make bench` measures: here other tests run beside it, which slow both kinds alike.
    let beyond_warm = figures.not_preloaded.saturating_sub(figures.warm);
    assert!(figures.cold_start() < beyond_warm * 3 / 4, "{figures:?}");
}
