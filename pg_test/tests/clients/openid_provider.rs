//! Tokens of a certified OpenID provider through `auth.jwt_session_init`.

use std::fs;
use std::sync::LazyLock;

use pg_test::oidc_provider::AUDIENCE;
use pg_test::{Authority, Cluster, OidcProvider, Tokens, pg_error};
use postgres::Client;

use crate::app::SCHEMA;

static PROVIDER: LazyLock<OidcProvider> = LazyLock::new(OidcProvider::start);

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| PROVIDER.device_tokens("alice", "openid db:read"));

/// A server whose roles each trust a provider in their own way.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::options().setting("session_preload_libraries", "pg_jwks").start();
    cluster.client().batch_execute(SCHEMA).expect("schema");
    cluster
});

fn connect(role: &str, settings: &[(&str, &str)]) -> Client {
    let mut admin = CLUSTER.client();
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN")).expect("CREATE ROLE");
    for (name, value) in settings {
        admin.batch_execute(&format!("ALTER ROLE {role} SET pg_jwks.{name} = '{value}'")).expect("ALTER ROLE");
    }
    CLUSTER.connect(role, "postgres")
}

fn connect_over_http(role: &str, settings: &[(&str, &str)]) -> Client {
    let mut all = vec![("issuer", PROVIDER.url()), ("audience", AUDIENCE), ("allow_insecure_http", "on")];
    all.extend(settings);
    connect(role, &all)
}

/// Who the token speaks of, and the notes that they see.
fn identify(client: &mut Client, token: &str) -> Result<(String, Vec<String>), String> {
    client.execute("SELECT auth.jwt_session_init($1)", &[&token]).map_err(|error| {
        let error = pg_error(&error);
        format!("{} {}: {}", error.sqlstate, error.message, error.detail.unwrap_or_default())
    })?;
    let who = client
        .query_one("SELECT concat_ws(' ', auth.user_id(), auth.role(), auth.claim('client_id'))", &[])
        .expect("SELECT")
        .get(0);
    let notes = client.query("SELECT body FROM note", &[]).expect("SELECT");
    Ok((who, notes.iter().map(|row| row.get(0)).collect()))
}

#[test]
fn client_credentials_identify_a_service_over_http() {
    let mut client = connect_over_http("over_http", &[("required_scope", "db:read")]);
    let good = identify(&mut client, &PROVIDER.service_token("db:read db:write"));
    assert_eq!(good, Ok(("service service service".to_owned(), vec!["from service".to_owned()])));
    let error = identify(&mut client, &PROVIDER.service_token("db:write")).expect_err("another scope");
    assert!(error.starts_with("28000 JWT rejected: scope missing"), "{error}");
    let mut elsewhere = connect_over_http("elsewhere", &[("audience", "https://other.test")]);
    let error = identify(&mut elsewhere, &PROVIDER.service_token("db:read")).expect_err("another audience");
    assert!(error.starts_with("28000 JWT rejected: audience not accepted"), "{error}");
}

#[test]
fn client_credentials_identify_a_service_over_https() {
    let authority = Authority::new();
    let provider = OidcProvider::start_tls(&authority);
    let ca_file = CLUSTER.write_file("provider_ca.pem", &authority.pem());
    let trust = [("issuer", provider.url()), ("audience", AUDIENCE)];
    let token = provider.service_token("db:read");

    let mut strict = connect("strict", &trust);
    let error = identify(&mut strict, &token).expect_err("an unknown authority");
    assert!(error.starts_with("55000 JWT rejected: keys unavailable"), "{error}");

    let mut settings = trust.to_vec();
    settings.push(("ca_file", ca_file.to_str().expect("UTF-8")));
    let mut client = connect("over_https", &settings);
    assert_eq!(identify(&mut client, &token).expect("a good token").1, ["from service"]);
    // A token of one provider is nothing to another, though both have the same key ids.
    let error = identify(&mut client, &TOKENS.access).expect_err("another provider's token");
    assert!(error.starts_with("28000 JWT rejected: issuer not accepted"), "{error}");
    fs::remove_file(ca_file).expect("the file");
}

#[test]
fn a_person_who_approved_a_device_is_identified() {
    let mut client = connect_over_http("device", &[("token_type", "access")]);
    let good = identify(&mut client, &TOKENS.access);
    assert_eq!(good, Ok(("alice reader psql".to_owned(), vec!["from alice".to_owned()])));
}

#[test]
fn an_id_token_is_no_access_token() {
    let id_token = TOKENS.id.as_deref().expect("an ID token");
    // Its audience is the client.
    let mut any = connect_over_http("any_type", &[("audience", "psql")]);
    assert_eq!(identify(&mut any, id_token).expect("a good token").1, ["from alice"]);
    let mut access = connect_over_http("access_only", &[("audience", "psql"), ("token_type", "access")]);
    let error = identify(&mut access, id_token).expect_err("an ID token");
    assert!(error.starts_with("28000 JWT rejected: token type not accepted"), "{error}");
    let mut database = connect_over_http("the_database", &[]);
    let error = identify(&mut database, id_token).expect_err("an ID token");
    assert!(error.starts_with("28000 JWT rejected: audience not accepted"), "{error}");
}
