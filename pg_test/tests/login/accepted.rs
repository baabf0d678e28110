//! Who gets in, as whom, and with which identity.

use crate::server::*;
use serde_json::json;

at_each_door!(
    the_login_is_the_identity,
    claims_in_any_script_log_in,
    a_login_finds_out_later_what_its_database_can_hold,
    claims_that_the_database_cannot_hold_are_an_error_at_the_first_read,
    pg_ident_maps_names_of_the_provider_to_roles,
    the_token_names_the_role_where_the_line_delegates,
    the_line_can_name_the_discovery_document,
    scopes_are_taken_from_scope_and_from_scp,
    another_claim_can_say_who_logs_in,
    the_user_logs_in,
    a_login_can_name_no_user,
    a_login_can_be_read_only,
    settings_of_the_client_change_nothing,
    accepted_logins_are_in_the_audit_log,
);

fn the_login_is_the_identity(door: Door) {
    let mut client = door.alice();
    let rows = client
        .query("SELECT current_user, session_user, auth.user_id(), auth.claim('scope'), auth.has_scope('login')")
        .expect("a query");
    let row: Vec<_> = rows[0].iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    assert_eq!(row, ["alice", "alice", "alice", "login", "t"]);
    door.assert_system_user(&mut client, "alice", "alice");
    assert_eq!(client.value("SELECT count(*) FROM big").as_deref(), Some("10000"));
    assert_eq!(client.value("SELECT count(*) FROM big WHERE owner <> 'alice'").as_deref(), Some("0"));
    let left = client.value("SELECT round(extract(epoch FROM auth.expires_at() - now()))");
    let left: i64 = left.expect("a time").parse().expect("seconds");
    assert!((3500..=3600).contains(&left), "{left}");
}

fn claims_in_any_script_log_in(door: Door) {
    let token = token_with(json!({ "name": "\u{c5}sa \u{1F511}", "https://x.example/\u{56e2}": ["\u{84dd}"] }));
    let mut client = door.login("alice", "named", &token).expect("a good token");
    assert_eq!(client.value("SELECT auth.claim('name')").as_deref(), Some("\u{c5}sa \u{1F511}"));
    assert_eq!(client.value("SELECT auth.jwt() -> 'https://x.example/\u{56e2}' ->> 0").as_deref(), Some("\u{84dd}"));
}

/// The encoding of the database is not known yet when the login is decided.
fn a_login_finds_out_later_what_its_database_can_hold(door: Door) {
    door.server().create_database("named_latin1", "LATIN1");
    superuser(door.server(), "named_latin1").batch_execute("CREATE EXTENSION pg_jwks").expect("CREATE EXTENSION");
    let token = token_with(json!({ "name": "\u{c5}sa" }));
    let mut client = door.login("alice", "named_latin1", &token).expect("a good token");
    run(&mut client, "SET client_encoding = 'UTF8'");
    assert_eq!(client.value("SELECT auth.claim('name')").as_deref(), Some("\u{c5}sa"));
    assert_eq!(client.value("SELECT octet_length(auth.claim('name'))").as_deref(), Some("3"));
    let token = token_with(json!({ "name": "\u{84dd}" }));
    let mut client = door.login("alice", "named_latin1", &token).expect("a good token");
    assert_eq!(failed(&mut client, "SELECT auth.user_id()").sqlstate, "22P05");
}

/// What cannot be stored as jsonb is found out at the first read: nothing is known of the database before.
fn claims_that_the_database_cannot_hold_are_an_error_at_the_first_read(door: Door) {
    let mut client = door.login("alice", "named", &token_with(json!({ "x": "a\u{0}b" }))).expect("a good token");
    for query in ["SELECT auth.user_id()", "SELECT count(*) FROM big", "SELECT auth.jwt()"] {
        let error = failed(&mut client, query);
        assert_eq!(error.sqlstate, "22P05", "{error:?}");
    }
    run(&mut client, "SELECT 1");
}

fn pg_ident_maps_names_of_the_provider_to_roles(door: Door) {
    let token = token_with(json!({ "sub": "bob@corp.example" }));
    let mut client = door.login("bob", "mapped", &token).expect("mapped");
    door.assert_system_user(&mut client, "bob@corp.example", "bob");
    assert_eq!(client.value("SELECT current_user").as_deref(), Some("bob"));
    assert_eq!(identity(&mut client).as_deref(), Some("bob@corp.example"));
    door.login("alice", "mapped", &token).err().expect("bob is not alice");
}

fn the_token_names_the_role_where_the_line_delegates(door: Door) {
    for roles in [json!("writer"), json!(["reader", "writer"])] {
        let token = token_with(json!({ "sub": "anna", "roles": roles }));
        let mut client = door.login("app", "delegated", &token).expect("a role of the token");
        assert_eq!(client.value("SELECT current_user").as_deref(), Some("app"));
        door.assert_system_user(&mut client, "anna", "app");
        assert_eq!(identity(&mut client).as_deref(), Some("anna"));
    }
}

fn the_line_can_name_the_discovery_document(door: Door) {
    let mut client = door.login("alice", "discovery", &KEY.sign(&good())).expect("a good token");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
}

fn scopes_are_taken_from_scope_and_from_scp(door: Door) {
    for scopes in [
        json!({ "scope": "x login db:read" }),
        json!({ "scope": null, "scp": ["login", "db:read"] }),
        json!({ "scope": null, "scp": "db:read login" }),
        json!({ "scope": "login", "scp": ["db:read"] }),
    ] {
        door.login("alice", "scoped", &token_with(scopes.clone()))
            .unwrap_or_else(|error| panic!("{scopes}: {error:?}"));
    }
}

/// Who the user is says who logs in, if nothing else does.
fn the_user_logs_in(door: Door) {
    let cluster = door.asking(door.of_key().setting("pg_jwks.user_claim", "oid"), ISSUER);
    let token = token_with(json!({ "sub": "pairwise", "oid": "alice" }));
    let mut client = door.connect(&cluster, "alice", "named", &token).expect("a login");
    door.assert_system_user(&mut client, "alice", "alice");
    assert_eq!(client.value("SELECT auth.user_id()").as_deref(), Some("alice"));
    let token = token_with(json!({ "sub": "alice", "oid": "pairwise" }));
    door.connect(&cluster, "alice", "named", &token).err().expect("another user");
}

/// The server's log alone says that it has no user.
fn a_login_can_name_no_user(door: Door) {
    let cluster = door.asking(door.of_key().setting("pg_jwks.authn_claim", "email"), ISSUER);
    let token = token_with(json!({ "sub": null, "email": "alice" }));
    let mark = cluster.log_mark();
    let mut client = door.connect(&cluster, "alice", "named", &token).expect("a login");
    assert_eq!(identity(&mut client), None);
    logged(&cluster, mark, "WARNING:  JWT names no user");
}

/// A number can be a name; the setting says which claim it is.
fn another_claim_can_say_who_logs_in(door: Door) {
    let cluster = door.asking(door.of_key().setting("pg_jwks.authn_claim", "account.id"), ISSUER);
    cluster.client().batch_execute("CREATE ROLE \"42\" LOGIN").expect("CREATE ROLE");
    for id in [json!(42), json!("42")] {
        let token = token_with(json!({ "account": { "id": id } }));
        let mut client = door.connect(&cluster, "42", "named", &token).expect("a login");
        door.assert_system_user(&mut client, "42", "42");
        assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    }
    let token = KEY.sign(&good());
    door.connect(&cluster, "alice", "named", &token).err().expect("no such claim");
}

/// However the session goes on: what it returns to is read-only too.
fn a_login_can_be_read_only(door: Door) {
    let cluster = door.asking(door.of_key().setting("pg_jwks.read_only_claim", "read_only"), ISSUER);
    let connect = |token: String| {
        let parameters =
            [("user", "alice"), ("database", "named"), ("options", "-c default_transaction_read_only=off")];
        door.connect_with(&cluster, &parameters, &token).expect("a login")
    };
    let mut client = connect(token_with(json!({ "read_only": true })));
    for before in ["SELECT 1", "DISCARD ALL", "SELECT auth.jwt_session_clear()"] {
        run(&mut client, before);
        assert_eq!(failed(&mut client, "DELETE FROM big").sqlstate, "25006", "{before}");
    }
    run(&mut connect(token_with(json!({ "read_only": false }))), "BEGIN; DELETE FROM big; ROLLBACK");
}

fn settings_of_the_client_change_nothing(door: Door) {
    let token = KEY.sign(&good());
    let connect = |options: &str| {
        let parameters = [("user", "alice"), ("database", "named"), ("options", options)];
        door.connect_with(door.server(), &parameters, &token)
    };
    for (options, sqlstate) in [
        (r#"-c pg_jwks.session={"sub":"bob"}"#, "42501"),
        ("-c pg_jwks.issuer=https://evil.test", "42501"),
        ("-c pg_jwks.allow_superuser_login=on", "42501"),
    ] {
        let refused = connect(options).err().expect("not the user's to set");
        assert_eq!(refused.error.sqlstate, sqlstate, "{options}: {refused:?}");
    }
    assert_eq!(identity(&mut connect("-c work_mem=1MB").expect("a harmless option")).as_deref(), Some("alice"));
}

fn accepted_logins_are_in_the_audit_log(door: Door) {
    let mark = door.server().log_mark();
    let token = token_with(json!({ "sub": "mallory@corp.example" }));
    door.login("bob", "mapped", &token).err().expect("mallory is not bob");
    let token = token_with(json!({ "sub": "bob@corp.example", "email": "bob@private.example" }));
    door.login("bob", "mapped", &token).expect("mapped");
    let log =
        logged(door.server(), mark, r#"{"claims":{"sub":"bob@corp.example"},"decision":"accepted","user":"bob"}"#);
    assert!(!log.contains("bob@private.example"), "{log}");
    assert!(!log.contains(r#"{"claims":{"sub":"mallory@corp.example"}"#), "accepted, and then refused: {log}");
    assert!(log.contains(r#""decision":"rejected","detail":"Whom the token names may not have"#), "{log}");
    for part in token.split('.') {
        assert!(!log.contains(part), "a part of the token is in the log");
    }
}
