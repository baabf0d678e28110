//! A wrong value is refused when it is set, wherever it is set, and says how to do better.

use pg_test::app::{NOT_PRELOADED, assignment};
use pg_test::{Alg, PgError, SigningKey, jwks, pg_error};
use postgres::Client;
use serde_json::json;

/// A superuser's session that knows the settings.
fn session() -> Client {
    let mut client = NOT_PRELOADED.client();
    client.batch_execute("LOAD 'pg_jwks'").expect("LOAD");
    client
}

fn show(client: &mut Client, name: &str) -> String {
    client.query_one(&format!("SHOW pg_jwks.{name}"), &[]).expect("SHOW").get(0)
}

/// The value is refused by every way to set it, with an error that does not repeat it, and changes nothing.
#[track_caller]
fn refused(client: &mut Client, name: &str, value: &str) -> PgError {
    let before = show(client, name);
    let assignment = assignment(name, value);
    let mut errors = Vec::new();
    for statement in [
        format!("SET {assignment}"),
        format!("SET LOCAL {assignment}"),
        format!("ALTER SYSTEM SET {assignment}"),
        format!("ALTER DATABASE postgres SET {assignment}"),
        format!("ALTER ROLE postgres SET {assignment}"),
        format!("ALTER ROLE ALL IN DATABASE postgres SET {assignment}"),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET {assignment} AS 'SELECT 1'"),
    ] {
        match client.batch_execute(&statement) {
            Ok(()) => panic!("accepted: {statement}"),
            Err(error) => errors.push(pg_error(&error)),
        }
    }
    let set = client.query("SELECT set_config($1, $2, false)", &[&format!("pg_jwks.{name}"), &value]);
    errors.push(pg_error(&set.expect_err("set_config refuses as well")));
    for error in &errors {
        assert_eq!(error.sqlstate, "22023", "{name} = {value:?}: {error:?}");
        assert!(error.message.contains(&format!("\"pg_jwks.{name}\"")), "{error:?}");
    }
    assert_eq!(show(client, name), before);
    errors.swap_remove(0)
}

#[track_caller]
fn accepted(client: &mut Client, name: &str, values: &[&str]) {
    for value in values {
        if let Err(error) = client.batch_execute(&format!("SET {}", assignment(name, value))) {
            panic!("{name} = {value:?}: {error:?}");
        }
    }
    client.batch_execute(&format!("RESET pg_jwks.{name}")).expect("RESET");
}

/// Texts that a check hook refuses, with words of the DETAIL.
fn texts() -> Vec<(&'static str, Vec<(String, &'static str)>)> {
    let too_many = (0..4097).map(|n| format!("issuer-{n}")).collect::<Vec<_>>();
    let too_many_entries = json!(too_many.iter().map(|issuer| json!({ "issuer": issuer })).collect::<Vec<_>>());
    let short = jwks(&[&SigningKey::from_secret(Alg::Hs256, "k", &[1; 31])]).to_string();
    let mut private = SigningKey::generate(Alg::Es256, "k").public_jwk();
    private["d"] = json!("AAAA");
    let no_certificate = NOT_PRELOADED.write_file("no_certificate.pem", "nothing");
    let large = NOT_PRELOADED.write_file("large.pem", &" ".repeat(262_145));
    let texts = |texts: &[(&str, &'static str)]| texts.iter().map(|(value, words)| ((*value).into(), *words)).collect();
    vec![
        (
            "issuer",
            texts(&[
                ("a\"b", "quote or a line break"),
                ("a\nb", "quote or a line break"),
                (&too_many.join(","), "more than 4096 issuers"),
            ]),
        ),
        ("audience", texts(&[("*,a", "cannot be combined"), ("a, *", "cannot be combined")])),
        (
            "jwks_uri",
            texts(&[
                ("issuer.example/jwks", "is not an \"https:\" URL"),
                ("ftp://issuer.example/jwks", "is not an \"https:\" URL"),
                ("https://", "is not an \"https:\" URL"),
                ("https:///jwks", "is not an \"https:\" URL"),
                ("https://:443/", "is not an \"https:\" URL"),
                ("https://user:password@issuer.example/", "is not an \"https:\" URL"),
                ("https://issuer example/", "is not an \"https:\" URL"),
                ("https://issuer.example/#keys", "is not an \"https:\" URL"),
                ("https://issuer.example/\n", "is not an \"https:\" URL"),
                ("/etc/keys.json", "is not an \"https:\" URL"),
                ("file:keys.json", "must be absolute"),
                ("file:", "must be absolute"),
                ("file://host/keys.json", "must be absolute"),
            ]),
        ),
        (
            "jwks",
            texts(&[
                ("{", "is not a JSON object"),
                ("https://issuer.example/jwks", "is not a JSON object"),
                ("[]", "is not a JSON object"),
                ("{}", "has no member \"keys\""),
                ("{\"keys\": {}}", "is not an array"),
                ("{\"keys\": []}", "has no keys"),
                ("{\"keys\": [7]}", "no \"kty\""),
                (&short, "shorter than 32 bytes"),
                (&private.to_string(), "private key is published"),
                ("{\"keys\": [{\"kty\": \"RSA\", \"n\": \"AQAB\", \"e\": \"AQAB\"}]}", "bits"),
                ("{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-192\"}]}", "not supported"),
                ("-----BEGIN PUBLIC KEY-----", "."),
            ]),
        ),
        (
            "providers",
            texts(&[
                ("{}", "."),
                ("[", "not a JSON array"),
                ("[1]", "An entry of the array is wrong"),
                ("[{}]", "missing field `issuer`"),
                ("[{\"issuer\": \"\"}]", "empty \"issuer\""),
                ("[{\"issuer\": 7}]", "a member is not of its type"),
                ("[{\"issuer\": \"a\"}, {\"issuer\": \"a\"}]", "appears twice"),
                ("[{\"issuer\": \"a\", \"audiences\": \"app\"}]", "unknown field `audiences`"),
                ("[{\"issuer\": \"a\", \"audience\": \"*,b\"}]", "."),
                ("[{\"issuer\": \"a\", \"jwks\": {\"keys\": []}}]", "has no keys"),
                ("[{\"issuer\": \"a\", \"jwks\": {}, \"jwks_uri\": \"https://a.example/\"}]", "both"),
                ("[{\"issuer\": \"a\", \"jwks_uri\": \"a.example\"}]", "is not an \"https:\" URL"),
                ("[{\"issuer\": \"a\", \"allowed_algorithms\": \"none\"}]", "not a supported algorithm"),
                ("[{\"issuer\": \"a\", \"allowed_algorithms\": []}]", "list of algorithms is empty"),
                ("[{\"issuer\": \"a\", \"role_claim\": \"a..b\"}]", "empty name"),
                ("[{\"issuer\": \"a\", \"token_type\": \"id\"}]", "\"any\" or \"access\""),
                (&too_many_entries.to_string(), "more than 4096 issuers"),
            ]),
        ),
        (
            "allowed_algorithms",
            texts(&[
                ("none", "\"none\" is not a supported algorithm"),
                ("RS256,none", "\"none\" is not a supported algorithm"),
                ("rs256", "\"rs256\" is not"),
                ("ES521", "\"ES521\" is not"),
                ("Ed448", "Of EdDSA, only the curve Ed25519 is."),
                ("RS256 ES256", "\"RS256 ES256\" is not"),
                ("", "list of algorithms is empty"),
                (" , ", "list of algorithms is empty"),
            ]),
        ),
        (
            "required_scope",
            texts(&[
                ("r\u{e9}ad", "not allowed in scopes"),
                ("read\twrite", "not allowed in scopes"),
                ("read\nwrite", "not allowed in scopes"),
                ("\"read\"", "not allowed in scopes"),
                ("re\\ad", "not allowed in scopes"),
            ]),
        ),
        (
            "role_claim",
            texts(&[
                ("", "empty name"),
                (".", "empty name"),
                ("realm_access..roles", "empty name"),
                ("[]", "empty name"),
                ("[\"\"]", "empty name"),
                ("[1]", "not a JSON array of strings"),
                ("[\"a\"", "not a JSON array of strings"),
            ]),
        ),
        ("user_claim", texts(&[("", "empty name"), ("a..b", "empty name")])),
        ("authn_claim", texts(&[(".", "empty name"), ("a..b", "empty name")])),
        ("audience_claim", texts(&[("", "empty name"), ("aud,", "empty name"), ("a..b", "empty name")])),
        (
            "required_claims",
            texts(&[
                ("hd", "not a JSON object"),
                ("[]", "not a JSON object"),
                ("{\"a\": 1, \"a\": 2}", "unique names"),
                ("{\"a\": null}", "no string, number or boolean"),
                ("{\"a\": []}", "no string, number or boolean"),
                ("{\"a\": {}}", "no string, number or boolean"),
                ("{\"a..b\": 1}", "empty name"),
            ]),
        ),
        ("http_proxy", texts(&[("proxy.example:3128", "URL of a proxy"), ("socks5://a.example", "URL of a proxy")])),
        ("jwks_token_file", texts(&[("token", "is not absolute")])),
        ("tenant_claim", texts(&[("org..id", "empty name"), ("[1]", "not a JSON array of strings")])),
        ("read_only_claim", texts(&[("a..b", "empty name")])),
        ("role_map", texts(&[("admin", "not a pair"), ("admin=", "not a pair"), ("=app", "not a pair")])),
        (
            "tenant_lookup",
            texts(&[
                ("", "not of the form"),
                ("users (id, tenant_id)", "not of the form"),
                ("public.users", "not of the form"),
                ("public.users (id, tenant_id); DROP TABLE x", "not of the form"),
            ]),
        ),
        (
            "ca_file",
            texts(&[
                ("roots.pem", "is not absolute"),
                ("/does/not/exist.pem", "cannot be read: No such file"),
                ("/tmp", "not a regular file"),
                ("/dev/zero", "not a regular file"),
                (&no_certificate.to_string_lossy(), "no certificate"),
                (&large.to_string_lossy(), "at most 262144 bytes"),
            ]),
        ),
    ]
}

#[test]
fn nonsense_is_refused_with_a_detail_and_a_hint() {
    let mut client = session();
    for (name, values) in texts() {
        for (value, words) in values {
            let error = refused(&mut client, name, &value);
            assert_eq!(error.message, format!("invalid value for parameter \"pg_jwks.{name}\""));
            let detail = error.detail.expect("a DETAIL");
            assert!(detail.contains(words), "{name} = {value:?}: {detail:?}");
            let hint = error.hint.expect("a HINT");
            for sentence in [detail, hint] {
                assert!(is_sentences(&sentence), "{name} = {value:?}: {sentence:?}");
            }
        }
    }
}

/// Whether a text is sentences, as PostgreSQL wants details, hints and descriptions to be.
fn is_sentences(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase() || first == '"') && text.ends_with('.')
}

/// What a setting does (`short_desc`), and how its value is written (`extra_desc`), by its name without the prefix.
fn descriptions(client: &mut Client) -> Vec<(String, String, String)> {
    let query = "SELECT substr(name, 9), short_desc, extra_desc FROM pg_settings
                  WHERE name LIKE 'pg\\_jwks.%' AND name NOT IN ('pg_jwks.session', 'pg_jwks.tenant')";
    let rows = client.query(query, &[]).expect("pg_settings");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[test]
fn settings_describe_themselves_in_sentences_and_no_two_alike() {
    let mut short = Vec::new();
    for (name, what, how) in descriptions(&mut session()) {
        assert!(is_sentences(&what) && is_sentences(&how), "{name}: {what:?}, {how:?}");
        assert!(!short.contains(&what), "{name}: {what:?}");
        short.push(what);
    }
    assert!(short.len() > 30, "{short:?}");
}

#[test]
fn the_hint_of_a_refusal_is_the_description_of_the_value() {
    let mut client = session();
    let descriptions = descriptions(&mut client);
    for (name, values) in texts() {
        let (value, _) = &values[0];
        let hint = refused(&mut client, name, value).hint;
        let (_, _, how) = descriptions.iter().find(|row| row.0 == name).expect("a description");
        assert_eq!(hint.as_ref(), Some(how), "{name}");
    }
}

#[test]
fn the_hint_about_providers_names_every_member() {
    let error = refused(&mut session(), "providers", "[{\"issuer\": \"a\", \"audiences\": \"app\"}]");
    let (detail, hint) = (error.detail.expect("a DETAIL"), error.hint.expect("a HINT"));
    let expected = detail.split_once("expected one of ").expect("the members").1;
    let mut expected: Vec<_> = expected.trim_end_matches('.').split(", ").map(|name| name.trim_matches('`')).collect();
    let named = hint.split_once("Members are ").expect("the members").1;
    let mut named: Vec<_> = named.trim_end_matches('.').split(", ").flat_map(|names| names.split(" and ")).collect();
    expected.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, expected);
}

#[test]
fn numbers_and_words_out_of_range_are_refused() {
    let mut client = session();
    for (name, values) in [
        ("leeway", ["-1", "301", "6min", "soon"].as_slice()),
        ("max_token_age", &["-1", "2 years", "9999999999999", "x"]),
        ("max_token_lifetime", &["-1", "2 years"]),
        ("jwks_cache_ttl", &["0", "-1s", "9000h"]),
        ("jwks_refresh_cooldown", &["0", "61min"]),
        ("jwks_max_stale", &["-1", "9000h"]),
        ("connect_timeout", &["0", "9ms", "61s", "never"]),
        ("fetch_timeout", &["0", "9ms", "61s", "never"]),
        ("token_cache_size", &["-1", "65537", "all", "1.5.1"]),
        ("allow_insecure_http", &["maybe", "", "2"]),
        ("token_type", &["acess", "", "at+jwt", "any,access"]),
    ] {
        for value in values {
            refused(&mut client, name, value);
        }
    }
    let hint = refused(&mut client, "token_type", "id").hint;
    assert_eq!(hint.as_deref(), Some("Available values: any, access."));
    let hint = refused(&mut client, "leeway", "1 fortnight").hint;
    assert!(hint.is_some_and(|hint| hint.contains("\"min\"")));
}

#[test]
fn sensible_values_are_accepted() {
    let mut client = session();
    let issuers = (0..4096).map(|n| format!("issuer-{n}")).collect::<Vec<_>>().join(",");
    accepted(
        &mut client,
        "issuer",
        &["", "sophia-ai", "https://a.example/realms/x", "a, b,,", &issuers, "it's \u{e9}"],
    );
    accepted(&mut client, "audience", &["", "*", "app", "a,b", "https://api.example", "a*b"]);
    accepted(
        &mut client,
        "jwks_uri",
        &["", "https://a.example/jwks", "http://127.0.0.1:8080/jwks?v=1", "file:/k", "file:///k", "https://[::1]/"],
    );
    accepted(&mut client, "jwks", &["", " ", &jwks(&[&SigningKey::generate(Alg::Es256, "k")]).to_string()]);
    accepted(&mut client, "providers", &["", "[]", "[{\"issuer\": \"a\", \"audience\": [\"x\", \"y\"]}]"]);
    accepted(&mut client, "allowed_algorithms", &["RS256", " ES256 , EdDSA ,", "HS256, HS384, HS512"]);
    accepted(&mut client, "audience_claim", &["aud", "aud, client_id", "aud, ctx.azp"]);
    accepted(&mut client, "required_claims", &["", "{}", r#"{"hd": "example.com", "org.id": [1, "a"], "ok": true}"#]);
    accepted(&mut client, "required_scope", &["", "read", "read write", "https://a.example/scope:all"]);
    accepted(&mut client, "role_claim", &["role", "realm_access.roles", "https://a.example/roles", "[\"a.b\", \"c\"]"]);
    accepted(&mut client, "ca_file", &[""]);
    accepted(&mut client, "http_proxy", &["", "http://proxy.example:3128", "https://user:p%40ss@proxy.example/"]);
    accepted(&mut client, "jwks_token_file", &["", "/var/run/secrets/kubernetes.io/serviceaccount/token"]);
    accepted(&mut client, "role_map", &["", "admin=app_admin, writer=app_writer"]);
    accepted(&mut client, "set_role", &["on", "off"]);
    accepted(&mut client, "read_only_claim", &["", "app.read_only"]);
    accepted(&mut client, "user_claim", &["oid", "act.sub", "sub"]);
    accepted(&mut client, "authn_claim", &["email", "act.sub", ""]);
    accepted(&mut client, "allow_superuser_login", &["on", "off"]);
    accepted(&mut client, "on_expiry", &["terminate", "error"]);
    accepted(&mut client, "tenant_claim", &["", "org.id", "https://a.example/org_id"]);
    accepted(&mut client, "tenant_lookup", &["app.members (user_id, org_id)", "\"S\".\"T\" (\"a b\", \"c\")"]);
    accepted(&mut client, "protect_isolation", &["off", "on"]);
    accepted(&mut client, "bypass_roles", &["", "app_owner, worker"]);
    accepted(&mut client, "session_scope", &["transaction", "any"]);
    accepted(&mut client, "trust_request_claims", &["on", "off"]);
    accepted(&mut client, "token_type", &["any", "ACCESS"]);
    accepted(&mut client, "leeway", &["0", "300", "5min", "30s"]);
    accepted(&mut client, "max_token_age", &["0", "1d"]);
    accepted(&mut client, "max_token_lifetime", &["0", "1h"]);
    accepted(&mut client, "jwks_cache_ttl", &["1", "24h"]);
    accepted(&mut client, "jwks_refresh_cooldown", &["1", "1h"]);
    accepted(&mut client, "jwks_max_stale", &["0", "7d"]);
    accepted(&mut client, "connect_timeout", &["10", "1min"]);
    accepted(&mut client, "fetch_timeout", &["10ms", "60s"]);
    accepted(&mut client, "token_cache_size", &["0", "65536"]);
    accepted(&mut client, "audit_log", &["off", "rejected", "all"]);
    accepted(&mut client, "audit_claims", &["", "sub, email"]);
    accepted(&mut client, "log_claims", &["", "sub, org.id", "https://example.com/tenant"]);
    accepted(&mut client, "allow_insecure_http", &["on", "off"]);
}

#[test]
fn the_settings_are_those_that_are_documented() {
    let mut client = session();
    let query = "SELECT concat_ws(' ', substr(name, 9), context, vartype, unit) || ': ' || coalesce(boot_val, 'none')
                 FROM pg_settings WHERE name LIKE 'pg\\_jwks.%' ORDER BY name";
    let found: Vec<String> = client.query(query, &[]).expect("pg_settings").iter().map(|row| row.get(0)).collect();
    let expected = [
        "allow_insecure_http superuser bool: off",
        "allow_superuser_login superuser bool: off",
        "allowed_algorithms superuser string: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA",
        "audience superuser string: none",
        "audience_claim superuser string: aud",
        "audit_claims superuser string: none",
        "audit_log superuser enum: rejected",
        "authn_claim superuser string: none",
        "bypass_roles superuser string: none",
        "ca_file superuser string: none",
        // Where the library is preloaded, this one is fixed when the server starts, and so is shared_cache_size.
        "claim_settings sighup string: none",
        "connect_timeout superuser integer ms: 2000",
        "fetch_timeout superuser integer ms: 5000",
        "http_proxy superuser string: none",
        "issuer superuser string: none",
        "jwks superuser string: none",
        "jwks_cache_ttl superuser integer s: 3600",
        "jwks_max_stale superuser integer s: 86400",
        "jwks_refresh_cooldown superuser integer s: 30",
        "jwks_token_file superuser string: none",
        "jwks_uri superuser string: none",
        "leeway superuser integer s: 30",
        "log_claims superuser string: none",
        "max_key_sources sighup integer: 128",
        "max_token_age superuser integer s: 0",
        "max_token_lifetime superuser integer s: 0",
        "on_expiry superuser enum: error",
        "protect_isolation user bool: on",
        "providers superuser string: none",
        "read_only_claim superuser string: none",
        "required_claims superuser string: none",
        "required_scope superuser string: none",
        "role_claim superuser string: role",
        "role_map superuser string: none",
        "session_scope superuser enum: any",
        "set_role superuser bool: off",
        "shared_cache_size sighup integer kB: 1024",
        "tenant_claim superuser string: none",
        "tenant_lookup superuser string: public.users (id, tenant_id)",
        "token_cache_size superuser integer: 128",
        "token_type superuser enum: any",
        "trust_request_claims superuser bool: off",
        "user_claim superuser string: sub",
    ];
    assert_eq!(found, expected);
}

#[test]
#[cfg_attr(before_pg15, ignore = "prefixes of settings can be reserved since PostgreSQL 15")]
fn a_misspelt_setting_is_refused() {
    let mut client = session();
    for statement in [
        "SET pg_jwks.audiance = 'app'",
        "SET LOCAL pg_jwks.issuers = 'app'",
        "SELECT set_config('pg_jwks.required_scopes', 'app', false)",
        "ALTER ROLE postgres SET pg_jwks.audiance = 'app'",
        "ALTER DATABASE postgres SET pg_jwks.audiance = 'app'",
        "ALTER SYSTEM SET pg_jwks.audiance = 'app'",
    ] {
        let error = pg_error(&client.batch_execute(statement).expect_err(statement));
        assert!(["42602", "42704"].contains(&error.sqlstate.as_str()), "{statement}: {error:?}");
    }
}
