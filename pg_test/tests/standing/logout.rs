//! `auth.jwt_logout()`: OpenID Connect Back-Channel Logout 1.0.

use crate::server::*;
use serde_json::{Value, json};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A logout token with these claims instead; null ones are left out.
fn logout_token(header: &Value, changes: Value) -> String {
    let now = pg_test::now();
    let mut claims = json!({
        "iss": ISSUER, "aud": "app", "iat": now, "exp": now + 120, "jti": format!("{changes}"), "events": { EVENT: {} },
    });
    let object = claims.as_object_mut().expect("an object");
    object.extend(changes.as_object().expect("an object").clone());
    object.retain(|_, value| !value.is_null());
    KEY.sign_with(header, &claims)
}

fn header() -> Value {
    json!({ "alg": KEY.alg().name(), "kid": KEY.kid(), "typ": "logout+jwt" })
}

#[test]
fn a_logout_token_revokes_the_session_or_user_that_it_names() {
    let database = Database::new("logout");
    let of_session = |sid: &str| token_with(&json!({ "sid": sid }));
    let mut here = with_identity(database.app(), &of_session("here"));
    let mut there = with_identity(database.app(), &of_session("there"));
    let mut bob = with_identity(database.app(), &token("bob"));
    let mut application = database.app();
    let mut logout = |changes| {
        application.execute("SELECT auth.jwt_logout($1)", &[&logout_token(&header(), changes)]).expect("a logout");
    };
    logout(json!({ "sid": "here", "sub": "alice" }));
    loses(&mut here, "token revoked");
    assert_eq!(notes(&mut there), [1, 3]);
    logout(json!({ "sub": "alice" }));
    loses(&mut there, "token revoked");
    assert_eq!(notes(&mut bob), [2]);
    let kept: String = value(&mut database.superuser(), "SELECT string_agg(reason, ',') FROM auth.revocations");
    assert_eq!(kept, "back-channel logout,back-channel logout");
}

#[test]
fn what_is_no_logout_token_revokes_nothing() {
    let database = Database::new("no_logout");
    let mut session = alice(database.app());
    let mut application = database.app();
    let sub = json!({ "sub": "alice" });
    let with = |name: &str, value: Value| {
        let mut all = sub.clone();
        all[name] = value;
        logout_token(&header(), all)
    };
    let plain = json!({ "alg": KEY.alg().name(), "kid": KEY.kid(), "typ": "JWT" });
    let untyped = json!({ "alg": KEY.alg().name(), "kid": KEY.kid() });
    for (token, reason) in [
        (token("alice"), "token type not accepted"),
        (logout_token(&plain, sub.clone()), "token type not accepted"),
        (logout_token(&untyped, sub.clone()), "token type not accepted"),
        (with("events", Value::Null), "malformed claim"),
        (with("events", json!({ "another": {} })), "malformed claim"),
        (with("events", json!([EVENT])), "malformed claim"),
        (with("events", json!({ EVENT: true })), "malformed claim"),
        (with("nonce", json!("n")), "malformed claim"),
        (with("sub", Value::Null), "malformed claim"),
        (with("sub", json!(7)), "malformed claim"),
        (with("jti", Value::Null), "malformed claim"),
        (with("iat", Value::Null), "malformed claim"),
        (with("exp", Value::Null), "expiry missing"),
        (with("exp", json!(pg_test::now() - 120)), "token expired"),
        (with("iat", json!(pg_test::now() + 600)), "token not yet valid"),
        (with("aud", json!("another")), "audience not accepted"),
        (with("iss", json!("https://another.test")), "issuer not accepted"),
        (with("sub", json!("alice")) + "x", "not base64url"),
        ("a.b".into(), "not three parts"),
    ] {
        let error = application.execute("SELECT auth.jwt_logout($1)", &[&token]).expect_err(reason);
        assert_eq!(pg_test::pg_error(&error).message, format!("JWT rejected: {reason}"));
    }
    let forged = json!({ "iss": ISSUER, "aud": "app", "sub": "alice", "jti": "f", "iat": pg_test::now(),
                         "exp": pg_test::now() + 60, "events": { EVENT: {} } });
    let forged = pg_test::offline::FORGER.sign_with(&header(), &forged);
    let error = application.execute("SELECT auth.jwt_logout($1)", &[&forged]).expect_err("forged");
    assert_eq!(pg_test::pg_error(&error).message, "JWT rejected: signature invalid");
    let error = application.execute("SELECT auth.jwt_logout(NULL)", &[]).expect_err("no token");
    assert_eq!(pg_test::pg_error(&error).message, "JWT rejected: token missing");
    assert_eq!(notes(&mut session), [1, 3]);
    assert_eq!(value::<i64>(&mut database.superuser(), "SELECT count(*) FROM auth.revocations"), 0);
}

#[test]
fn a_logout_token_counts_once() {
    let database = Database::new("logout_once");
    let mut application = database.app();
    let once = logout_token(&header(), json!({ "sub": "alice" }));
    application.execute("SELECT auth.jwt_logout($1)", &[&once]).expect("a logout");
    let error = application.execute("SELECT auth.jwt_logout($1)", &[&once]).expect_err("again");
    let error = pg_test::pg_error(&error);
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT rejected: logout token used before"));
    assert_eq!(value::<i64>(&mut database.superuser(), "SELECT count(*) FROM auth.revocations"), 1);
}

/// An access token is no logout token, and a logout token no identity.
#[test]
fn a_logout_token_is_no_identity() {
    let database = Database::new("logout_no_identity");
    let error =
        init(&mut database.app(), &logout_token(&header(), json!({ "sub": "alice" }))).expect_err("no identity");
    assert_eq!(error.message, "JWT rejected: token type not accepted");
}
