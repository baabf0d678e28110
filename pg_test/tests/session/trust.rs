//! Nobody but a superuser, and whom they allow, says which issuers are trusted.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::server::*;
use pg_test::{claims, jwks};
use postgres::Client;

/// A valid value for each setting, other than the server's; each would weaken it.
fn evil_values() -> HashMap<String, String> {
    let forgers = jwks(&[&FORGER]).to_string();
    let providers = format!(r#"[{{"issuer": "https://issuer.test", "audience": "*", "jwks": {forgers}}}]"#);
    [
        ("issuer", "https://issuer.test, https://evil.test"),
        ("audience", "*"),
        ("jwks_uri", "file:/tmp/evil.pem"),
        ("jwks", &forgers),
        ("providers", &providers),
        ("allowed_algorithms", "EdDSA, HS256"),
        ("leeway", "300s"),
        ("required_scope", "evil"),
        ("required_claims", "{}"),
        ("audience_claim", "sub"),
        ("token_type", "access"),
        ("max_token_age", "1s"),
        ("max_token_lifetime", "1s"),
        ("jwks_cache_ttl", "1d"),
        ("jwks_refresh_cooldown", "1s"),
        ("jwks_max_stale", "366d"),
        ("connect_timeout", "59s"),
        ("fetch_timeout", "59s"),
        ("ca_file", "/etc/ssl/certs/ca-certificates.crt"),
        ("allow_insecure_http", "on"),
        ("http_proxy", "http://proxy.evil.example:3128"),
        ("jwks_token_file", "/etc/passwd"),
        ("token_cache_size", "0"),
        ("role_claim", "sub"),
        ("role_map", "admin=postgres"),
        ("set_role", "on"),
        ("read_only_claim", "none"),
        ("authn_claim", "email"),
        ("user_claim", "email"),
        ("allow_superuser_login", "on"),
        ("on_expiry", "terminate"),
        ("tenant_claim", "evil"),
        ("tenant_lookup", "evil.users (id, tenant_id)"),
        ("session_scope", "transaction"),
        ("trust_request_claims", "on"),
        ("audit_log", "off"),
        ("audit_claims", "email"),
        ("log_claims", "email"),
        ("bypass_roles", "evil"),
    ]
    .map(|(name, value)| (name.to_owned(), value.replace('\'', "''")))
    .into()
}

/// Every setting that a session can change, but the identity and the one that is everybody's, with its value here.
fn settings(client: &mut Client) -> Vec<(String, String)> {
    run(client, "SELECT auth.init()");
    let query = "SELECT name, current_setting(name) FROM pg_settings
                  WHERE name LIKE 'pg_jwks.%' AND context IN ('user', 'superuser')
                    AND name <> 'pg_jwks.protect_isolation' ORDER BY name";
    client.query(query, &[]).expect("pg_settings").iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn evil_value(name: &str) -> String {
    let values = evil_values();
    let short = name.strip_prefix("pg_jwks.").expect("the prefix");
    values.get(short).unwrap_or_else(|| panic!("{name} is new: how would a user misuse it?")).clone()
}

#[test]
fn every_trust_setting_is_refused_to_users() {
    let settings = settings(&mut superuser());
    assert!(settings.len() >= 29, "{settings:?}");
    let mut client = session();
    run(&mut client, "SELECT auth.init()");
    for (name, _) in &settings {
        let evil = evil_value(name);
        for attack in [
            format!("SET {name} = '{evil}'"),
            format!("BEGIN; SET LOCAL {name} = '{evil}'"),
            format!("SELECT set_config('{name}', '{evil}', false)"),
            format!("ALTER ROLE app SET {name} = '{evil}'"),
            format!("ALTER ROLE app IN DATABASE app SET {name} = '{evil}'"),
            format!("ALTER DATABASE app SET {name} = '{evil}'"),
            format!("ALTER SYSTEM SET {name} = '{evil}'"),
            format!("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET {name} = '{evil}' AS 'SELECT 1'"),
            format!("RESET {name}"),
        ] {
            let error = refused(&mut client, &attack);
            assert_eq!(error.sqlstate, "42501", "{attack}: {error:?}");
            run(&mut client, "ROLLBACK");
        }
    }
    // The same values are fine for a superuser, so it was not the value that was refused.
    let mut superuser = superuser();
    for (name, _) in &settings {
        run(&mut superuser, &format!("SET {name} = '{}'", evil_value(name)));
    }
}

/// The server's value holds, though the user set another one while nobody could check it.
#[test]
fn every_trust_setting_that_a_user_set_before_the_library_is_loaded_is_dropped() {
    let settings = settings(&mut superuser());
    // Some settings are hidden from others, and a value that nobody sees proves nothing.
    run(&mut superuser(), "CREATE ROLE observer LOGIN IN ROLE pg_read_all_settings");
    let mut client = server().connect("observer", "app");
    for (name, value) in &settings {
        run(&mut client, &format!("SET {name} = '{}'", evil_value(name)));
        let before: String = crate::server::value(&mut client, &format!("SHOW {name}"));
        assert_ne!(&before, value, "the attack did not even begin");
    }
    run(&mut client, "SELECT auth.init()");
    for (name, value) in &settings {
        let after: String = crate::server::value(&mut client, &format!("SHOW {name}"));
        assert_eq!(&after, value, "{name}");
    }
    assert_eq!(try_init(&mut client, &forged_token("bob")).expect_err("a forged token").sqlstate, "28000");
    assert_eq!(identity(&mut client), None);
    init(&mut client, "alice");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
}

/// A mistake that others make: the user supplies the key with which his own token is verified.
#[test]
fn a_user_cannot_supply_the_keys() {
    let keys = jwks(&[&FORGER]).to_string();
    for set in [
        format!("SET pg_jwks.jwks = '{keys}'"),
        format!("BEGIN; SET LOCAL pg_jwks.jwks = '{keys}'"),
        format!("SET pg_jwks.issuer = 'https://issuer.test'; SET pg_jwks.jwks = '{keys}'; SET pg_jwks.audience = '*'"),
        format!(r#"SET pg_jwks.providers = '[{{"issuer": "https://issuer.test", "audience": "*", "jwks": {keys}}}]'"#),
    ] {
        let mut client = session();
        run(&mut client, &set);
        let error = try_init(&mut client, &forged_token("bob")).expect_err("a forged token");
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT rejected: signature invalid"));
        let _ = client.batch_execute("ROLLBACK");
        assert_eq!(identity(&mut client), None, "{set}");
    }
}

#[test]
fn a_user_cannot_supply_the_issuer() {
    let token = FORGER.sign(&claims("https://evil.test", "bob"));
    let mut client = session();
    run(&mut client, "SET pg_jwks.issuer = 'https://evil.test'");
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.issuer"), "https://evil.test");
    let error = try_init(&mut client, &token).expect_err("another issuer");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT rejected: issuer not accepted"));
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.issuer"), ISSUER);
}

/// A session of `app` with a setting in its connection options, where the database requires a scope.
fn with_option(name: &str, value: &str) -> Client {
    static DATABASE: LazyLock<&str> = LazyLock::new(|| {
        let name = database("trust_options");
        run(&mut server().client(), &format!("ALTER DATABASE {name} SET pg_jwks.required_scope = 'admin'"));
        name
    });
    let mut config = server().config();
    let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
    config.user("app").dbname(*DATABASE).options(&format!("-c {name}={value}"));
    server().try_connect(&mut config).expect("a connection")
}

#[test]
fn a_user_cannot_supply_keys_in_the_connection_options() {
    let keys = jwks(&[&FORGER]).to_string();
    let mut client = with_option("pg_jwks.jwks", &keys);
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.jwks"), keys, "the attack did not even begin");
    try_init(&mut client, &forged_token("bob")).expect_err("a forged token");
    assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
}

/// What a user puts into the connection options hides the server's value while the library is not loaded. It must
/// not leave the default in its place, which trusts more.
#[test]
fn a_user_cannot_hide_a_trust_setting_in_the_connection_options() {
    let without_scope = token("alice");
    let mut honest = with_option("work_mem", "8MB");
    assert_eq!(try_init(&mut honest, &without_scope).expect_err("no scope").message, "JWT rejected: scope missing");
    for name in ["pg_jwks.required_scope", "PG_JWKS.REQUIRED_SCOPE", "Pg_Jwks.required_Scope"] {
        let mut client = with_option(name, "evil");
        assert_eq!(
            value::<String>(&mut client, "SHOW pg_jwks.required_scope"),
            "evil",
            "the attack did not even begin"
        );
        for _ in 0..2 {
            let error = try_init(&mut client, &without_scope).expect_err(name);
            assert_eq!(error.sqlstate, "55000", "{name}: {error:?}");
            assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None, "{name}");
        }
    }
}

/// The library is loaded while a superuser's rights are in force, but the setting was made without them.
#[test]
fn a_security_definer_function_does_not_bless_a_users_keys() {
    let name = database("trust_definer");
    run(
        &mut server().connect("postgres", name),
        "CREATE FUNCTION public.login(token text) RETURNS void LANGUAGE sql SECURITY DEFINER AS
            'SELECT auth.jwt_session_init(token)'",
    );
    let mut client = server().connect("app", name);
    run(&mut client, &format!("SET pg_jwks.jwks = '{}'", jwks(&[&FORGER])));
    let error = refused(&mut client, &format!("SELECT public.login('{}')", forged_token("bob")));
    assert_eq!(error.message, "JWT rejected: signature invalid");
    assert_eq!(identity(&mut client), None);
}

#[test]
#[cfg_attr(before_pg15, ignore = "GRANT SET came with PostgreSQL 15")]
fn granting_set_on_a_parameter_is_what_it_takes() {
    let name = database("trust_granted");
    let mut owner = server().connect("postgres", name);
    run(&mut owner, "CREATE ROLE tenant_admin LOGIN; GRANT SET ON PARAMETER pg_jwks.audience TO tenant_admin");
    let mut client = server().connect("tenant_admin", name);
    run(&mut client, "SELECT auth.init(); SET pg_jwks.audience = 'shop'");
    assert_eq!(try_init(&mut client, &token("alice")).expect_err("another audience").sqlstate, "28000");
    assert_eq!(refused(&mut client, "SET pg_jwks.issuer = 'x'").sqlstate, "42501");
    let mut client = server().connect("tenant_admin", name);
    run(&mut client, "SET pg_jwks.audience = 'shop'; SET pg_jwks.issuer = 'x'");
    assert_eq!(try_init(&mut client, &token("alice")).expect_err("another audience").sqlstate, "28000");
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.issuer"), ISSUER);
}
