//! Each provider, with the settings that `docs/providers.md` gives for it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use pg_test::documents::Page;
use pg_test::{Cluster, pg_error};
use postgres::Client;

use crate::documented::{Documented, Expected, Token, all};
use crate::world::{SERVICE_TOKEN, World};

static PROVIDERS: LazyLock<Vec<Documented>> = LazyLock::new(all);

/// A preloaded server that reaches the world through a proxy.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let world = World::of(&PROVIDERS);
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.http_proxy", &world.proxy.url())
        .start();
    // It serves for as long as the tests run.
    std::mem::forget(world.proxy);
    cluster.write_file("world.pem", &world.authority);
    cluster.write_file("service.token", SERVICE_TOKEN);
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks").expect("CREATE EXTENSION");
    cluster
});

/// The settings for a provider, for this role.
fn settings(provider: &str, role: &str) -> String {
    let [settings] = &Page::of_repository("docs/providers.md").blocks(provider, "sql")[..] else {
        panic!("one block for {provider}");
    };
    let path = |name| SERVER.data_dir().join(name).display().to_string();
    let settings = settings
        .replace("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", &path("world.pem"))
        .replace("/var/run/secrets/kubernetes.io/serviceaccount/token", &path("service.token"))
        .replace("ALTER SYSTEM SET", &format!("ALTER ROLE {role} SET"));
    format!("LOAD 'pg_jwks'; ALTER ROLE {role} SET pg_jwks.ca_file = '{}'; {settings}", path("world.pem"))
}

fn check(client: &mut Client, provider: &str, token: &Token) -> Result<(), String> {
    let said = client.execute("SELECT auth.jwt_session_init($1)", &[&token.text]).map_err(|error| pg_error(&error));
    let (user, roles, tenant) = match (&token.expected, said) {
        (Expected::Identity { user, roles, tenant }, Ok(_)) => (user, roles, tenant),
        (Expected::Refused(reason), Err(error)) if error.message == format!("JWT rejected: {reason}") => return Ok(()),
        (_, said) => return Err(format!("{provider}, {}: {said:?}", token.what)),
    };
    let row = client.query_one("SELECT auth.user_id(), auth.has_role('another role')", &[]).expect("readers");
    let mut problems = Vec::new();
    if row.get::<_, Option<String>>(0) != *user || row.get(1) {
        problems.push(format!("{row:?}"));
    }
    for role in roles {
        if !client.query_one("SELECT auth.has_role($1)", &[role]).expect("has_role").get::<_, bool>(0) {
            problems.push(format!("without role {role}"));
        }
    }
    if tenant.is_some() {
        let own: Option<String> = client.query_one("SELECT auth.tenant_id()", &[]).expect("tenant_id").get(0);
        if own != *tenant {
            problems.push(format!("of tenant {own:?}"));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!("{provider}, {}: {}", token.what, problems.join(", "))),
    }
}

#[test]
fn every_providers_tokens_are_understood() {
    let mut problems = Vec::new();
    for (number, provider) in PROVIDERS.iter().enumerate() {
        let role = format!("of_provider_{number}");
        SERVER
            .client()
            .batch_execute(&format!("CREATE ROLE {role} LOGIN IN ROLE pg_monitor; {}", settings(&provider.name, &role)))
            .expect("settings");
        let mut client = SERVER.connect(&role, "postgres");
        problems.extend(provider.tokens.iter().filter_map(|token| check(&mut client, &provider.name, token).err()));
        let accepted =
            provider.tokens.iter().filter(|token| matches!(token.expected, Expected::Identity { .. })).count();
        assert!(accepted > 0 && accepted < provider.tokens.len(), "{}: some pass, and some do not", provider.name);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_page_and_the_documents_are_of_the_same_providers() {
    let documented: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.name.clone()).collect();
    let page = Page::of_repository("docs/providers.md");
    let sections: BTreeSet<_> = page.headings(2).into_iter().collect();
    assert_eq!(documented, sections);
    let rows = page.table("Identity providers", "provider");
    for row in &rows {
        let name = row[0].trim_start_matches('[').split(']').next().expect("a name").to_owned();
        assert_eq!(row[3] == "documents", documented.contains(&name), "{name}");
    }
    for name in &documented {
        let base = name.split(',').next().expect("a name");
        assert!(rows.iter().any(|row| row[0].starts_with(&format!("[{base}]"))), "{name} has no row");
    }
}
