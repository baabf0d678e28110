//! What the operator expects of tokens is told to operators, and not to every user whose token is refused.

use pg_test::login::{init, token};
use pg_test::{Alg, Cluster, SigningKey, jwks, pg_error};
use serde_json::json;

/// Values of `pg_jwks.providers` and `pg_jwks.jwks_uri`: the first four in the order of [`refused_tokens`].
const VALUES: [&str; 5] = ["https://partner.test", "hidden-audience", "hidden:scope", "at+jwt", "query-secret"];

/// Tokens that are refused for those values, by the name of the check.
fn refused_tokens(key: &SigningKey) -> Vec<(&'static str, String)> {
    let with = |changes: serde_json::Value| pg_test::claims_with("https://partner.test", "alice", &changes);
    let good = json!({ "aud": "hidden-audience", "scope": "hidden:scope" });
    vec![
        ("issuer", key.sign(&with(json!({ "iss": "https://mallory.test" })))),
        ("audience", key.sign(&with(json!({ "aud": ["shop", "\u{e9}cole"], "scope": "hidden:scope" })))),
        ("scope", key.sign(&with(json!({ "aud": "hidden-audience", "scope": "read" })))),
        ("type", key.sign(&with(good.clone()))),
        ("key", SigningKey::generate(Alg::Es256, "another-kid").sign(&with(good))),
    ]
}

/// What the roles hear of one token: the error of init, and what jwt_explain says of the check.
fn heard(client: &mut postgres::Client, check: &str, token: &str) -> String {
    let error = init(client, token).expect_err("refused");
    let query =
        "SELECT coalesce(string_agg(detail, ' '), '') FROM auth.jwt_explain($1) WHERE \"check\" = $2 AND NOT ok";
    let row = client.query_one(query, &[&token, &check]).expect("jwt_explain");
    let detail: String = row.get(0);
    assert!(!detail.is_empty(), "{check} does not fail");
    format!("{error:?} {detail}")
}

fn server_with_hidden_values(key: &SigningKey) -> Cluster {
    let provider = json!([{
        "issuer": "https://partner.test", "audience": "hidden-audience", "required_scope": "hidden:scope",
        "token_type": "access", "jwks": jwks(&[key]),
    }]);
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.providers", &provider.to_string())
        .setting("pg_jwks.issuer", "https://plain.test")
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.jwks_uri", "https://127.0.0.1:1/jwks?key=query-secret")
        .start();
    let schema = "CREATE EXTENSION pg_jwks; CREATE ROLE plain LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
        CREATE FUNCTION definer(token text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
        $$BEGIN PERFORM auth.jwt_session_init(token); END$$";
    cluster.client().batch_execute(schema).expect("schema");
    cluster
}

#[test]
fn plain_roles_hear_reasons_without_the_values_of_settings() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let cluster = server_with_hidden_values(&key);
    let mut plain = cluster.connect("plain", "postgres");
    for (check, token) in refused_tokens(&key) {
        let heard = heard(&mut plain, check, &token);
        for value in VALUES {
            assert!(!heard.contains(value), "{check}: {heard}");
        }
        assert!(heard.contains("The token "), "{check}: {heard}");
    }
    let unavailable = token(&key, "https://plain.test");
    let heard = heard(&mut plain, "key", &unavailable);
    assert!(heard.contains("keys unavailable") && heard.contains("Keys could not be had"), "{heard}");
    assert!(!heard.contains("query-secret") && !heard.contains("127.0.0.1"), "{heard}");
    // Whose rights a function has does not count.
    for (_, token) in refused_tokens(&key) {
        let error = plain.query("SELECT definer($1)", &[&token]).expect_err("refused");
        let error = format!("{:?}", pg_error(&error));
        assert!(VALUES.iter().all(|value| !error.contains(value)), "{error}");
    }
}

#[test]
fn monitors_and_superusers_hear_all() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let cluster = server_with_hidden_values(&key);
    for user in ["monitor", "postgres"] {
        let mut client = cluster.connect(user, "postgres");
        for ((check, token), value) in refused_tokens(&key).into_iter().zip(VALUES) {
            let heard = heard(&mut client, check, &token);
            let told = if check == "key" { 0 } else { 2 };
            assert_eq!(heard.matches(value).count(), told, "{user}, {check}: {heard}");
        }
        let heard = heard(&mut client, "key", &token(&key, "https://plain.test"));
        assert!(heard.contains("query-secret"), "{user}: {heard}");
    }
}

/// The log is for operators.
#[test]
fn the_audit_log_has_the_values_of_settings() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let cluster = server_with_hidden_values(&key);
    let mut plain = cluster.connect("plain", "postgres");
    for (_, token) in refused_tokens(&key) {
        init(&mut plain, &token).expect_err("refused");
    }
    let log = cluster.log();
    let audited: Vec<_> = log.lines().filter(|line| line.contains("pg_jwks audit: ")).collect();
    assert_eq!(audited.len(), 5, "{log}");
    for (line, value) in audited.iter().zip(&VALUES[..4]) {
        assert!(line.contains(*value), "{line}");
    }
}

#[test]
fn everybody_hears_what_the_token_has() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let cluster = server_with_hidden_values(&key);
    let words = [
        r#"The token has "https://mallory.test"."#,
        r#"The token has "shop", "\u00e9cole"."#,
        "must carry another scope",
        r#"The token has "JWT"."#,
        r#"The token has "another-kid"."#,
    ];
    for user in ["plain", "monitor"] {
        let mut client = cluster.connect(user, "postgres");
        for ((check, token), words) in refused_tokens(&key).into_iter().zip(words) {
            if user == "monitor" && check == "scope" {
                continue;
            }
            let error = init(&mut client, &token).expect_err("refused");
            let detail = error.detail.expect("a DETAIL");
            assert!(detail.contains(words), "{user}: {detail}");
        }
    }
}
