//! Each refusal on its own: the client always hears the same, and the log says why.

use crate::server::*;
use pg_test::{Alg, Credentials, RawClient, Refused, SigningKey, now};
use serde_json::{Value, json};

/// What OAUTHBEARER tells the client of any token that is refused.
fn challenge(db: &str) -> Value {
    let scope = if db == "scoped" { "login db:read" } else { "login" };
    let issuer = if db == "unconfigured" { "https://nobody.test" } else { ISSUER };
    json!({
        "status": "invalid_token",
        "openid-configuration": format!("{issuer}/.well-known/openid-configuration"),
        "scope": scope,
    })
}

/// Refused with what every refused client hears, and with these words in the log.
#[track_caller]
fn assert_refused(what: &str, user: &str, db: &str, token: &str, words: &[&str]) {
    let mark = SERVER.log_mark();
    let Some(Refused { error, challenge: said }) = login(user, db, token).err() else { panic!("{what} got in") };
    assert_eq!(error.sqlstate, "28000", "{what}: {error:?}");
    assert_eq!(error.message, format!("OAuth bearer authentication failed for user \"{user}\""), "{what}");
    assert_eq!((&error.detail, &error.hint), (&None, &None), "{what}");
    let said: Value = serde_json::from_str(&said.expect("a challenge")).expect("JSON");
    assert_eq!(said, challenge(db), "{what}");
    for words in words {
        let log = logged(&SERVER, mark, words);
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!log.contains(part), "{what}: a part of the token is in the log");
        }
    }
}

/// A refusal by the validator: its reason and its DETAIL are in the log.
#[track_caller]
fn assert_rejected(what: &str, user: &str, db: &str, token: &str, reason: &str, detail: &str) {
    let line = format!("LOG:  OAuth token rejected for user \"{user}\": {reason}\n");
    assert_refused(what, user, db, token, &[&line, detail]);
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn bad_tokens_are_refused() {
    let forger = SigningKey::generate(Alg::EdDsa, "k1");
    let unknown = SigningKey::generate(Alg::EdDsa, "k2");
    let good = good();
    let token = |changes: Value| token_with(changes);
    for (what, token, reason, detail) in [
        ("malformed", "abc".into(), "not three parts", "three parts"),
        ("malformed parts", "a.b.c".into(), "not base64url", "base64url"),
        ("forged", forger.sign(&good), "signature invalid", "not made by the issuer's key"),
        ("of an unknown key", unknown.sign(&good), "key unknown", "publishes no key"),
        ("unsigned", KEY.sign_with(&json!({ "alg": "none" }), &good), "algorithm not allowed", "must be one of"),
        ("expired", token(json!({ "exp": now() - 100 })), "token expired", "The token expired 1"),
        ("without expiry", token(json!({ "exp": null })), "expiry missing", "\"exp\" is required"),
        ("not yet valid", token(json!({ "nbf": now() + 100 })), "token not yet valid", "\"nbf\" is ahead"),
        ("of another audience", token(json!({ "aud": "shop" })), "audience not accepted", "must have \"app\""),
        ("of no audience", token(json!({ "aud": null })), "audience not accepted", "must have \"app\""),
        ("of a foreign issuer", token(json!({ "iss": "https://evil.test" })), "issuer not accepted", "must be exactly"),
        (
            "of a trusted issuer that is not the line's",
            token(json!({ "iss": "https://other.test" })),
            "issuer not accepted",
            "DETAIL:  The line of pg_hba.conf asks for issuer \"https://issuer.test\".",
        ),
        ("without scope", token(json!({ "scope": null })), "scope missing", "asks for scope \"login\""),
        ("without subject", token(json!({ "sub": null })), "login name missing", "who logs in"),
        ("of a subject with a line break", token(json!({ "sub": "alice\nx" })), "login name missing", "who logs in"),
    ] {
        assert_rejected(what, "alice", "named", &token, reason, detail);
    }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn every_scope_of_the_line_must_be_there_as_a_word() {
    for scope in ["login", "db:read", "login db:readonly", "login xdb:read", "login db:read:all", "LOGIN db:read", ""] {
        assert_rejected(scope, "alice", "scoped", &token_with(json!({ "scope": scope })), "scope missing", "asks for");
    }
    let substring = token_with(json!({ "scope": null, "scp": ["login db:rea", "d"] }));
    assert_rejected("a substring in scp", "alice", "scoped", &substring, "scope missing", "asks for scope \"db:read\"");
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_line_whose_issuer_is_not_configured_lets_nobody_in() {
    for token in [KEY.sign(&good()), token_with(json!({ "iss": "https://nobody.test" })), "garbage".into()] {
        assert_rejected(
            "any token",
            "alice",
            "unconfigured",
            &token,
            "issuer of pg_hba.conf not configured",
            "HINT:  Name the same issuer in pg_hba.conf and in pg_jwks.issuer",
        );
    }
}

/// The name and the map are PostgreSQL's to check, and it says what it found.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn other_names_are_refused() {
    let reason = "LOG:  OAuth token rejected for user \"bob\": role not accepted\n";
    let words = "provided user name (bob) and authenticated user name (alice) do not match";
    assert_refused("sub is not the role", "bob", "named", &KEY.sign(&good()), &[words, reason]);
    let token = token_with(json!({ "sub": "bob@elsewhere.example" }));
    let words = "no match in usermap \"people\" for user \"bob\" authenticated as \"bob@elsewhere.example\"";
    assert_refused("no map entry", "bob", "mapped", &token, &[words, reason]);
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_delegated_role_must_be_in_the_claim_and_in_the_map() {
    for (what, user, roles) in [
        ("no roles", "app", json!(null)),
        ("other roles", "app", json!(["reader"])),
        ("the mapped name itself", "app", json!(["app"])),
        ("a role that is not in the map", "alice", json!(["alice"])),
        ("a name that contains it", "app", json!("writers")),
        ("another of its roles", "bob", json!(["writer"])),
    ] {
        let token = token_with(json!({ "sub": user, "roles": roles }));
        let detail = "DETAIL:  The token does not name the requested role.";
        assert_rejected(what, user, "delegated", &token, "role not accepted", detail);
    }
}

/// Whether the token names the role, or pg_ident.conf does.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn reserved_roles_are_refused() {
    let root = token_with(json!({ "sub": "root@corp.example", "roles": ["boss"] }));
    for (what, user, db, reason, detail) in [
        ("a superuser", "postgres", "mapped", "role reserved", "is a superuser, and pg_jwks.allow_superuser_login"),
        ("a superuser that the token names", "postgres", "delegated", "role reserved", "is a superuser"),
        ("a role that may replicate", "standby", "mapped", "role reserved", "may replicate"),
        ("a role of PostgreSQL's", "pg_monitor", "mapped", "role reserved", "is PostgreSQL's own"),
        ("no role", "ghost", "mapped", "role not accepted", "does not exist"),
    ] {
        assert_rejected(what, user, db, &root, reason, detail);
    }
    let ghost = token_with(json!({ "sub": "ghost" }));
    assert_rejected("no role, by name", "ghost", "named", &ghost, "role not accepted", "does not exist");
    let parameters = [("user", "standby"), ("replication", "true")];
    let refused = RawClient::connect_with(&SERVER, &parameters, Credentials::Bearer(&root)).err().expect("refused");
    assert_eq!(refused.error.message, "OAuth bearer authentication failed for user \"standby\"");
    // A plain role may log in, but not replicate.
    let bob = token_with(json!({ "sub": "bob@corp.example" }));
    let parameters = [("user", "bob"), ("replication", "true")];
    let refused = RawClient::connect_with(&SERVER, &parameters, Credentials::Bearer(&bob)).err().expect("refused");
    assert_eq!(refused.error.sqlstate, "42501", "{refused:?}");
}

/// What the role could become counts, however many roles are in between.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn members_of_reserved_roles_are_refused() {
    let cluster = asking(of_key(), ISSUER);
    cluster
        .client()
        .batch_execute(
            "CREATE ROLE admins SUPERUSER; CREATE ROLE between; CREATE ROLE readers;
             GRANT admins TO between; GRANT readers TO bob; GRANT pg_monitor TO bob;",
        )
        .expect("roles");
    let log_in = |sub: &str| {
        let mark = cluster.log_mark();
        let token = token_with(json!({ "sub": sub }));
        match RawClient::connect(&cluster, sub, "named", Credentials::Bearer(&token)) {
            Ok(mut session) => session.value("SELECT current_user").expect("the user"),
            Err(_) => logged(&cluster, mark, "role reserved"),
        }
    };
    assert_eq!(log_in("bob"), "bob", "a member of plain roles");
    for (grants, words) in [
        ("GRANT admins TO m", "is a member of a superuser"),
        ("GRANT between TO m", "is a member of a superuser"),
        ("GRANT between TO m WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", "is a member of a superuser"),
        ("GRANT admins TO m WITH INHERIT FALSE", "is a member of a superuser"),
        ("GRANT standby TO m", "is a member of a role that may replicate"),
        ("GRANT pg_execute_server_program TO m", "may use files or programs of the server"),
        ("GRANT pg_read_server_files TO m", "may use files or programs of the server"),
        ("GRANT pg_write_server_files TO readers; GRANT readers TO m", "may use files or programs of the server"),
    ] {
        let mut client = cluster.client();
        client.batch_execute(&format!("CREATE ROLE m LOGIN; {grants}")).expect("grants");
        let log = log_in("m");
        assert!(log.contains(words), "{grants}: {log}");
        client.batch_execute("DROP ROLE m").expect("DROP ROLE");
    }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn superusers_log_in_where_that_is_allowed() {
    let token = token_with(json!({ "sub": "postgres" }));
    for (allowed, superuser) in [("off", None), ("on", Some("on"))] {
        let cluster = asking(of_key().setting("pg_jwks.allow_superuser_login", allowed), ISSUER);
        let session = RawClient::connect(&cluster, "postgres", "named", Credentials::Bearer(&token));
        let is_superuser = session.ok().and_then(|mut session| session.value("SHOW is_superuser"));
        assert_eq!(is_superuser.as_deref(), superuser, "{allowed}");
    }
}

/// An ID token says who somebody is, not that he may use this database.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn an_id_token_is_refused_where_access_tokens_are_asked_for() {
    let cluster = asking(of_key().setting("pg_jwks.token_type", "access"), ISSUER);
    let mark = cluster.log_mark();
    let token = KEY.sign(&good());
    RawClient::connect(&cluster, "alice", "named", Credentials::Bearer(&token)).err().expect("an ID token");
    let log = logged(&cluster, mark, "LOG:  OAuth token rejected for user \"alice\": token type not accepted");
    assert!(log.contains(r#""check":"type","decision":"rejected""#), "{log}");
    let token = KEY.sign_with(&json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }), &good());
    RawClient::connect(&cluster, "alice", "named", Credentials::Bearer(&token)).expect("an access token");
}

/// A client without a token learns where to get one (RFC 7628 §4.3); what is no token is PostgreSQL's to refuse.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_login_without_a_token_is_refused() {
    for auth in ["", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer \u{e9}"] {
        let refused = RawClient::connect(&SERVER, "alice", "named", Credentials::Auth(auth)).err().expect("no token");
        assert!(refused.error.sqlstate.starts_with("28") || refused.error.sqlstate == "08P01", "{auth:?}: {refused:?}");
        assert!(refused.challenge.is_some() || !auth.is_empty(), "{refused:?}");
        if let Some(said) = refused.challenge {
            assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON"), challenge("named"), "{auth:?}");
        }
    }
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_server_that_is_not_set_up_lets_nobody_in_and_says_what_is_missing() {
    let keys = pg_test::jwks(&[&KEY]).to_string();
    for (settings, reason) in [
        (vec![("pg_jwks.issuer", ISSUER), ("pg_jwks.audience", ""), ("pg_jwks.jwks", &keys)], "no audience configured"),
        (vec![("pg_jwks.jwks", keys.as_str())], "issuer of pg_hba.conf not configured"),
    ] {
        let with_settings =
            |options: pg_test::cluster::Options, (name, value): &(&str, &str)| options.setting(name, value);
        let cluster = asking(settings.iter().fold(options(), with_settings), ISSUER);
        let mark = cluster.log_mark();
        let token = KEY.sign(&good());
        RawClient::connect(&cluster, "alice", "named", Credentials::Bearer(&token)).err().expect("not set up");
        let log = logged(&cluster, mark, reason);
        assert!(log.contains("HINT: "), "{log}");
    }
}

/// Refusals are counted and audited with those of `auth.jwt_session_init`.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn refusals_are_counted_and_audited() {
    let cluster = asking(of_key().setting("shared_preload_libraries", "pg_jwks"), ISSUER);
    let mark = cluster.log_mark();
    let expired = token_with(json!({ "exp": now() - 1000 }));
    for _ in 0..30 {
        RawClient::connect(&cluster, "alice", "named", Credentials::Bearer(&expired)).err().expect("expired");
    }
    drop(RawClient::connect(&cluster, "alice", "named", Credentials::Bearer(&KEY.sign(&good()))).expect("good"));
    let query = "SELECT accepted, rejected_by_reason FROM auth.jwt_stats";
    let row = superuser(&cluster, "named").query_one(query, &[]).expect("jwt_stats");
    assert_eq!(row.get::<_, i64>(0), 1);
    assert_eq!(row.get::<_, Value>(1)["token expired"], 30);
    let log = cluster.log_since(mark);
    let audited = log.matches("\"decision\":\"rejected\"").count();
    // Each second has ten lines, and PostgreSQL's own line for each refused login has the reason beside it.
    assert!((10..30).contains(&audited), "{audited} lines");
    assert!(log.contains(r#""reason":"token expired","remote_host":"127.0.0.1","user":"alice"}"#), "{log}");
    assert_eq!(log.matches("OAuth token rejected for user \"alice\": token expired").count(), 30);
}
