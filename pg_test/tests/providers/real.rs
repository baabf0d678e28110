//! Providers that run here: their tokens through `auth.jwt_session_init()`, and what they do when they replace their keys.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{init, refused};
use pg_test::sql::value;
use pg_test::{Cluster, RealProvider};
use postgres::Client;

/// A role that trusts a provider.
fn app<'c>(cluster: &'c Cluster, provider: &RealProvider, settings: &[(&str, &str)]) -> App<'c> {
    let app = App::new(cluster, settings);
    app.set("issuer", provider.url());
    app
}

fn claims(client: &mut Client) -> (Option<String>, Option<String>, Option<String>) {
    let query = "SELECT auth.user_id(), auth.claim('name'), auth.email()";
    let row = client.query_one(query, &[]).expect("readers");
    (row.get(0), row.get(1), row.get(2))
}

/// A token of the former key is refused, and one of the new key is not.
fn rotates(client: &mut Client, provider: &RealProvider) {
    let former = provider.token();
    init(client, &former).expect("a good token");
    provider.rotate();
    init(client, &provider.token()).expect("a token of the new key");
    refused(client, &former, "28000", "key unknown", "");
}

#[test]
fn better_auth() {
    let provider = RealProvider::better_auth();
    let keys = format!("{}/api/auth/jwks", provider.url());
    let settings =
        [("jwks_uri", &*keys), ("audience", provider.url()), ("role_claim", "o.role"), ("tenant_claim", "o.id")];
    let mut client = app(&NOT_PRELOADED, &provider, &settings).connect();
    init(&mut client, &provider.token()).expect("a good token");
    let (user, name, email) = claims(&mut client);
    assert!(user.is_some_and(|user| user.len() == 32), "an identifier");
    assert_eq!((name.as_deref(), email.as_deref()), (Some("alice"), Some("alice@example.com")));
    assert!(value::<bool>(&mut client, "SELECT auth.has_role('owner') AND NOT auth.has_role('authenticated')"));
    assert!(value::<bool>(&mut client, "SELECT auth.tenant_id() = auth.organization() ->> 'id'"));
    rotates(&mut client, &provider);
    // Without the address of its keys, there is nothing to find them by.
    let mut client = app(&NOT_PRELOADED, &provider, &[("audience", provider.url())]).connect();
    let words = "There is no discovery document: GET ";
    refused(&mut client, &provider.token(), "55000", "keys unavailable", words);
    let mut client = app(&NOT_PRELOADED, &provider, &[("jwks_uri", &*keys), ("audience", "another")]).connect();
    refused(&mut client, &provider.token(), "28000", "audience not accepted", provider.url());
}

#[test]
fn canaille() {
    let provider = RealProvider::canaille();
    let mut client = app(&NOT_PRELOADED, &provider, &[("audience", "db")]).connect();
    init(&mut client, &provider.token()).expect("a good token");
    assert_eq!(claims(&mut client).0.as_deref(), Some("alice"));
    assert_eq!(pg_test::login::sees(&mut client), ["alice"]);
    rotates(&mut client, &provider);
    let mut client = app(&NOT_PRELOADED, &provider, &[("audience", "db"), ("allowed_algorithms", "RS256")]).connect();
    refused(&mut client, &provider.token(), "28000", "algorithm not allowed", "\"Ed25519\"");
}
