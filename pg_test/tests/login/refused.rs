//! Each refusal on its own: the client always hears the same, and the log says why.

use crate::server::*;
use pg_test::{Alg, Credentials, RawClient, Refused, SigningKey, now};
use serde_json::{Value, json};

at_each_door!(
    bad_tokens_are_refused,
    every_scope_of_the_line_must_be_there_as_a_word,
    a_line_whose_issuer_is_not_configured_lets_nobody_in,
    other_names_are_refused,
    a_delegated_role_must_be_in_the_claim_and_in_the_map,
    reserved_roles_are_refused,
    members_of_reserved_roles_are_refused,
    superusers_log_in_where_that_is_allowed,
    an_id_token_is_refused_where_access_tokens_are_asked_for,
    a_server_that_is_not_set_up_lets_nobody_in_and_says_what_is_missing,
    refusals_are_counted_and_audited,
);

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
fn assert_refused(door: Door, what: &str, user: &str, db: &str, token: &str, words: &[&str]) {
    let mark = door.server().log_mark();
    let Some(Refused { error, challenge: said, .. }) = door.login(user, db, token).err() else {
        panic!("{what} got in")
    };
    assert_eq!(error.sqlstate, "28000", "{what}: {error:?}");
    assert_eq!(error.message, door.refusal(user), "{what}");
    assert_eq!((&error.detail, &error.hint), (&None, &None), "{what}");
    let said: Option<Value> = said.map(|said| serde_json::from_str(&said).expect("JSON"));
    assert_eq!(said, (door == Door::OAuth).then(|| challenge(db)), "{what}");
    for words in words {
        let log = logged(door.server(), mark, words);
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!log.contains(part), "{what}: a part of the token is in the log");
        }
    }
}

fn not_configured(door: Door) -> &'static str {
    match door {
        Door::OAuth => "issuer of pg_hba.conf not configured",
        Door::Password => "issuer of PAM service not configured",
    }
}

/// A refusal by this library: its reason and its DETAIL are in the log.
#[track_caller]
fn assert_rejected(door: Door, what: &str, user: &str, db: &str, token: &str, reason: &str, detail: &str) {
    let line = format!("LOG:  {} token rejected for user \"{user}\": {reason}\n", door.kind());
    assert_refused(door, what, user, db, token, &[&line, detail]);
}

fn bad_tokens_are_refused(door: Door) {
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
            &format!("DETAIL:  {} asks for issuer \"https://issuer.test\".", door.place()),
        ),
        ("without scope", token(json!({ "scope": null })), "scope missing", "asks for scope \"login\""),
        ("without subject", token(json!({ "sub": null })), "login name missing", "who logs in"),
        ("of a subject with a line break", token(json!({ "sub": "alice\nx" })), "login name missing", "who logs in"),
    ] {
        assert_rejected(door, what, "alice", "named", &token, reason, detail);
    }
}

fn every_scope_of_the_line_must_be_there_as_a_word(door: Door) {
    for scope in ["login", "db:read", "login db:readonly", "login xdb:read", "login db:read:all", "LOGIN db:read", ""] {
        assert_rejected(
            door,
            scope,
            "alice",
            "scoped",
            &token_with(json!({ "scope": scope })),
            "scope missing",
            "asks for",
        );
    }
    let substring = token_with(json!({ "scope": null, "scp": ["login db:rea", "d"] }));
    assert_rejected(
        door,
        "a substring in scp",
        "alice",
        "scoped",
        &substring,
        "scope missing",
        "asks for scope \"db:read\"",
    );
}

fn a_line_whose_issuer_is_not_configured_lets_nobody_in(door: Door) {
    for token in [KEY.sign(&good()), token_with(json!({ "iss": "https://nobody.test" })), "garbage".into()] {
        assert_rejected(
            door,
            "any token",
            "alice",
            "unconfigured",
            &token,
            not_configured(door),
            match door {
                Door::OAuth => "HINT:  Name the same issuer in pg_hba.conf and in pg_jwks.issuer",
                Door::Password => "HINT:  Name the same issuer in the file of the PAM service and in pg_jwks.issuer",
            },
        );
    }
}

/// The name and the map are PostgreSQL's to check, and it says what it found.
fn other_names_are_refused(door: Door) {
    let reason = &format!("LOG:  {} token rejected for user \"bob\": role not accepted\n", door.kind());
    let words = "provided user name (bob) and authenticated user name (alice) do not match";
    assert_refused(door, "sub is not the role", "bob", "named", &KEY.sign(&good()), &[words, reason]);
    let token = token_with(json!({ "sub": "bob@elsewhere.example" }));
    let words = "no match in usermap \"people\" for user \"bob\" authenticated as \"bob@elsewhere.example\"";
    assert_refused(door, "no map entry", "bob", "mapped", &token, &[words, reason]);
}

fn a_delegated_role_must_be_in_the_claim_and_in_the_map(door: Door) {
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
        assert_rejected(door, what, user, "delegated", &token, "role not accepted", detail);
    }
}

/// Whether the token names the role, or pg_ident.conf does.
fn reserved_roles_are_refused(door: Door) {
    let root = token_with(json!({ "sub": "root@corp.example", "roles": ["boss"] }));
    for (what, user, db, reason, detail) in [
        ("a superuser", "postgres", "mapped", "role reserved", "is a superuser, and pg_jwks.allow_superuser_login"),
        ("a superuser that the token names", "postgres", "delegated", "role reserved", "is a superuser"),
        ("a role that may replicate", "standby", "mapped", "role reserved", "may replicate"),
        ("a role of PostgreSQL's", "pg_monitor", "mapped", "role reserved", "is PostgreSQL's own"),
        ("no role", "ghost", "mapped", "role not accepted", "does not exist"),
    ] {
        assert_rejected(door, what, user, db, &root, reason, detail);
    }
    let ghost = token_with(json!({ "sub": "ghost" }));
    assert_rejected(door, "no role, by name", "ghost", "named", &ghost, "role not accepted", "does not exist");
    let parameters = [("user", "standby"), ("replication", "true")];
    let refused = door.connect_with(door.server(), &parameters, &root).err().expect("refused");
    assert_eq!(refused.error.message, door.refusal("standby"));
    // A plain role may log in, but not replicate.
    let bob = token_with(json!({ "sub": "bob@corp.example" }));
    let parameters = [("user", "bob"), ("replication", "true")];
    let refused = door.connect_with(door.server(), &parameters, &bob).err().expect("refused");
    assert_eq!(refused.error.sqlstate, "42501", "{refused:?}");
}

/// What the role could become counts, however many roles are in between.
fn members_of_reserved_roles_are_refused(door: Door) {
    let cluster = door.asking(door.of_key(), ISSUER);
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
        match door.connect(&cluster, sub, "named", &token) {
            Ok(mut session) => session.value("SELECT current_user").expect("the user"),
            Err(_) => logged(&cluster, mark, "role reserved"),
        }
    };
    assert_eq!(log_in("bob"), "bob", "a member of plain roles");
    let options_of_grants = [
        ("GRANT between TO m WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", "is a member of a superuser"),
        ("GRANT admins TO m WITH INHERIT FALSE", "is a member of a superuser"),
    ];
    let has_options = cluster.major_version() >= 16;
    for (grants, words) in [
        ("GRANT admins TO m", "is a member of a superuser"),
        ("GRANT between TO m", "is a member of a superuser"),
        ("GRANT standby TO m", "is a member of a role that may replicate"),
        ("GRANT pg_execute_server_program TO m", "may use files or programs of the server"),
        ("GRANT pg_read_server_files TO m", "may use files or programs of the server"),
        ("GRANT pg_write_server_files TO readers; GRANT readers TO m", "may use files or programs of the server"),
    ]
    .into_iter()
    .chain(options_of_grants.into_iter().filter(|_| has_options))
    {
        let mut client = cluster.client();
        client.batch_execute(&format!("CREATE ROLE m LOGIN; {grants}")).expect("grants");
        let log = log_in("m");
        assert!(log.contains(words), "{grants}: {log}");
        client.batch_execute("DROP ROLE m").expect("DROP ROLE");
    }
}

fn superusers_log_in_where_that_is_allowed(door: Door) {
    let token = token_with(json!({ "sub": "postgres" }));
    for (allowed, superuser) in [("off", None), ("on", Some("on"))] {
        let cluster = door.asking(door.of_key().setting("pg_jwks.allow_superuser_login", allowed), ISSUER);
        let session = door.connect(&cluster, "postgres", "named", &token);
        let is_superuser = session.ok().and_then(|mut session| session.value("SHOW is_superuser"));
        assert_eq!(is_superuser.as_deref(), superuser, "{allowed}");
    }
}

/// An ID token says who somebody is, not that he may use this database.
fn an_id_token_is_refused_where_access_tokens_are_asked_for(door: Door) {
    let cluster = door.asking(door.of_key().setting("pg_jwks.token_type", "access"), ISSUER);
    let mark = cluster.log_mark();
    let token = KEY.sign(&good());
    door.connect(&cluster, "alice", "named", &token).err().expect("an ID token");
    let log = logged(
        &cluster,
        mark,
        &format!("LOG:  {} token rejected for user \"alice\": token type not accepted", door.kind()),
    );
    assert!(log.contains(r#""check":"type","decision":"rejected""#), "{log}");
    let token = KEY.sign_with(&json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }), &good());
    door.connect(&cluster, "alice", "named", &token).expect("an access token");
}

/// A client without a token learns where to get one (RFC 7628 §4.3); what is no token is PostgreSQL's to refuse.
#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_login_without_a_token_is_refused() {
    for auth in ["", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer \u{e9}"] {
        let refused = RawClient::connect(Door::OAuth.server(), "alice", "named", Credentials::Auth(auth))
            .err()
            .expect("no token");
        assert!(refused.error.sqlstate.starts_with("28") || refused.error.sqlstate == "08P01", "{auth:?}: {refused:?}");
        assert!(refused.challenge.is_some() || !auth.is_empty(), "{refused:?}");
        if let Some(said) = refused.challenge {
            assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON"), challenge("named"), "{auth:?}");
        }
    }
}

fn a_server_that_is_not_set_up_lets_nobody_in_and_says_what_is_missing(door: Door) {
    let keys = pg_test::jwks(&[&KEY]).to_string();
    for (settings, reason) in [
        (vec![("pg_jwks.issuer", ISSUER), ("pg_jwks.audience", ""), ("pg_jwks.jwks", &keys)], "no audience configured"),
        (vec![("pg_jwks.jwks", keys.as_str())], not_configured(door)),
    ] {
        let with_settings =
            |options: pg_test::cluster::Options, (name, value): &(&str, &str)| options.setting(name, value);
        let cluster = door.asking(settings.iter().fold(door.options(), with_settings), ISSUER);
        let mark = cluster.log_mark();
        let token = KEY.sign(&good());
        door.connect(&cluster, "alice", "named", &token).err().expect("not set up");
        let log = logged(&cluster, mark, reason);
        assert!(log.contains("HINT: "), "{log}");
    }
}

/// Refusals are counted and audited with those of `auth.jwt_session_init`.
fn refusals_are_counted_and_audited(door: Door) {
    let cluster = door.asking(door.of_key().setting("shared_preload_libraries", "pg_jwks"), ISSUER);
    let mark = cluster.log_mark();
    let expired = token_with(json!({ "exp": now() - 1000 }));
    for _ in 0..30 {
        door.connect(&cluster, "alice", "named", &expired).err().expect("expired");
    }
    drop(door.connect(&cluster, "alice", "named", &KEY.sign(&good())).expect("good"));
    let query = "SELECT accepted, rejected_by_reason FROM auth.jwt_stats";
    let row = superuser(&cluster, "named").query_one(query, &[]).expect("jwt_stats");
    assert_eq!(row.get::<_, i64>(0), 1);
    assert_eq!(row.get::<_, Value>(1)["token expired"], 30);
    let log = cluster.log_since(mark);
    let audited = log.matches("\"decision\":\"rejected\"").count();
    // Each second has ten lines, and PostgreSQL's own line for each refused login has the reason beside it.
    assert!((10..30).contains(&audited), "{audited} lines");
    assert!(log.contains(r#""reason":"token expired","remote_host":"127.0.0.1","user":"alice"}"#), "{log}");
    assert_eq!(log.matches(&format!("{} token rejected for user \"alice\": token expired", door.kind())).count(), 30);
}
