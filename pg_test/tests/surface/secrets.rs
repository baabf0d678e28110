//! `pg_jwks.jwks` and `pg_jwks.providers` can hold shared secrets.

use std::sync::LazyLock;

use pg_test::login::{init, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, SigningKey, jwks, pg_error, sql};
use serde_json::json;

const SETTINGS: [&str; 2] = ["pg_jwks.jwks", "pg_jwks.providers"];

/// A preloading server with a shared secret in both settings.
struct Server {
    cluster: Cluster,
    secret: SigningKey,
    /// The secret as it is written in the settings.
    written: String,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let secret = SigningKey::generate(Alg::Hs256, "k");
    let written = secret.public_jwk()["k"].as_str().expect("a secret").to_owned();
    let keys = jwks(&[&secret]);
    let providers = json!([{ "issuer": "two", "jwks": keys }]).to_string();
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.issuer", "one")
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.allowed_algorithms", "HS256")
        .setting("pg_jwks.jwks", &keys.to_string())
        .setting("pg_jwks.providers", &providers)
        .setting("log_min_messages", "debug1")
        .start();
    let schema = "CREATE EXTENSION pg_jwks; CREATE ROLE plain LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor";
    cluster.client().batch_execute(schema).expect("CREATE EXTENSION");
    Server { cluster, secret, written }
});

#[test]
fn secrets_are_hidden_from_plain_roles() {
    let Server { cluster, secret, written } = &*SERVER;
    let mut client = cluster.connect("plain", "postgres");
    for iss in ["one", "two"] {
        init(&mut client, &token(secret, iss)).expect("the secret works");
    }
    for name in SETTINGS {
        for statement in [format!("SHOW {name}"), format!("SELECT current_setting('{name}')")] {
            let error = pg_error(&client.query(&statement, &[]).expect_err(&statement));
            assert_eq!(error.sqlstate, "42501", "{statement}");
        }
        let all = client.query("SHOW ALL", &[]).expect("SHOW ALL");
        assert!(all.iter().all(|row| row.get::<_, &str>(0) != name));
        let rows = client.query("SELECT * FROM pg_settings WHERE name = $1", &[&name]).expect("pg_settings");
        assert!(rows.is_empty());
        let shown: String = cluster.client().query_one(&format!("SHOW {name}"), &[]).expect("a superuser may").get(0);
        assert!(shown.contains(written));
        let shown = cluster.connect("monitor", "postgres").query_one(&format!("SHOW {name}"), &[]);
        assert!(shown.expect("pg_read_all_settings may").get::<_, String>(0).contains(written));
    }
    assert!(!cluster.log().contains(written), "the log has the secret");
}

#[test]
fn secrets_are_not_echoed() {
    let Server { cluster, secret, written } = &*SERVER;
    let mut client = cluster.client();
    let jwk = secret.public_jwk();
    let bad = [
        ("pg_jwks.jwks", json!({ "keys": [{ "kty": "oct", "k": written.clone() + "=" }] })),
        ("pg_jwks.jwks", json!({ "keys": jwk })),
        ("pg_jwks.jwks", json!({ "keys": [{ "kty": written, "k": written, "alg": written, "use": written }] })),
        (
            "pg_jwks.jwks",
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": written, "y": written, "d": written }] }),
        ),
        ("pg_jwks.jwks", json!(written)),
        ("pg_jwks.providers", json!([{ "issuer": "a", "jwks": written }])),
        ("pg_jwks.providers", json!([{ "issuer": "a", "jwks": { "keys": jwk } }])),
        ("pg_jwks.providers", json!([{ "issuer": "a", "audience": { "k": written } }])),
        ("pg_jwks.providers", json!([{ "issuer": { "k": written } }])),
        ("pg_jwks.providers", json!([{ "issuer": "a", "token_type": written }])),
        ("pg_jwks.providers", json!([{ "issuer": "a", "role_claim": { "k": written } }])),
        ("pg_jwks.providers", json!([written])),
        ("pg_jwks.providers", json!(written)),
    ];
    let mark = cluster.log_mark();
    for (name, value) in bad {
        let error = client.query("SELECT set_config($1, $2, false)", &[&name, &value.to_string()]);
        let error = pg_error(&error.expect_err("nonsense"));
        assert_eq!(error.sqlstate, "22023");
        assert!(!format!("{error:?}").contains(written), "{error:?}");
        let cut = &value.to_string()[..value.to_string().len() - 1];
        let error = client.query("SELECT set_config($1, $2, false)", &[&name, &cut]).expect_err("no JSON");
        assert!(!format!("{:?}", pg_error(&error)).contains(written), "{error:?}");
    }
    // A plain role may not set it, and nor does that refusal repeat it.
    let mut plain = cluster.connect("plain", "postgres");
    let good = jwks(&[secret]).to_string();
    for name in SETTINGS {
        let error = plain.query("SELECT set_config($1, $2, false)", &[&name, &good]).expect_err("not allowed");
        assert!(!format!("{:?}", pg_error(&error)).contains(written));
    }
    assert!(!cluster.log_since(mark).contains(written), "the log has the secret");
}

#[test]
fn errors_of_logins_do_not_tell_the_secret() {
    let Server { cluster, secret, written } = &*SERVER;
    let mut client = cluster.connect("plain", "postgres");
    let stranger = SigningKey::generate(Alg::Hs256, "k");
    for token in [token(&stranger, "one"), token(secret, "three"), token(&stranger, "two")] {
        let error = init(&mut client, &token).expect_err("refused");
        assert!(!format!("{error:?}").contains(written), "{error:?}");
        let rows = client.query("SELECT t::text FROM auth.jwt_explain($1) t", &[&token]).expect("jwt_explain");
        assert!(!rows.is_empty() && rows.iter().all(|row| !row.get::<_, String>(0).contains(written)));
    }
    assert!(!cluster.log().contains(written), "the log has the secret");
}

#[test]
fn connections_to_a_preloading_server_bring_no_setting() {
    let Server { cluster, secret, .. } = &*SERVER;
    for setting in ["audience=*", "audience=app", "jwks=", "required_scope=", "leeway=300"] {
        let mut config = cluster.config();
        let options = format!("-c pg_jwks.{setting}");
        let error = cluster.try_connect(config.user("plain").options(&options)).err().expect("refused");
        assert_eq!(pg_error(&error).sqlstate, "42501");
    }
    init(&mut cluster.connect("plain", "postgres"), &token(secret, "one")).expect("the settings stand");
}

#[test]
fn a_reload_that_changes_a_secret_does_not_log_it() {
    let (secret, other) = (SigningKey::generate(Alg::Hs256, "k"), SigningKey::generate(Alg::Hs256, "k"));
    let keys = |key: &SigningKey| jwks(&[key]).to_string();
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.jwks", &keys(&other))
        .setting("log_min_messages", "debug5")
        .start();
    let mark = cluster.log_mark();
    let providers = json!([{ "issuer": "two", "jwks": jwks(&[&secret]) }]).to_string();
    let mut admin = cluster.client();
    for (name, value) in [
        ("pg_jwks.jwks", keys(&secret)),
        ("pg_jwks.PROVIDERS", providers),
        ("pg_jwks.jwks_uri", "https://login.example.com/jwks".into()),
    ] {
        admin.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).expect("ALTER SYSTEM");
    }
    cluster.reload();
    eventually("the file", || {
        let seen: String = sql::value(&mut cluster.client(), "SHOW pg_jwks.jwks_uri");
        (!seen.is_empty()).then_some(())
    });
    let log = cluster.log_since(mark);
    for key in [&secret, &other] {
        assert!(!log.contains(key.public_jwk()["k"].as_str().expect("a secret")), "the log has the secret");
    }
    // What changed is still said, and other values are.
    for words in [
        "parameter \"pg_jwks.jwks\" changed\n",
        "parameter \"pg_jwks.providers\" changed\n",
        "parameter \"pg_jwks.jwks_uri\" changed to \"https://login.example.com/jwks\"",
    ] {
        assert!(log.contains(words), "no {words} in {log}");
    }
}

#[test]
fn a_statement_that_sets_a_secret_is_not_logged() {
    let mark = SERVER.cluster.log_mark();
    for setting in ["pg_jwks.jwks", "PG_JWKS.Providers", "\"pg_jwks\" . \"jwks\""] {
        let statement = format!("SET {setting} = 'not for the log'");
        SERVER.cluster.client().batch_execute(&statement).expect_err("nonsense");
    }
    let log = SERVER.cluster.log_since(mark);
    assert!(!log.contains("not for the log"), "{log}");
}
