//! Each reason to reject a token: SQLSTATE, message, DETAIL, and then no identity.

use std::collections::BTreeSet;

use pg_test::login::{accepted, init, refused, sees, token};
use pg_test::pg_error;
use serde_json::json;

use crate::cases::{ISS, KEY, app, cases, of_tokens};

#[test]
fn each_reason_has_its_sqlstate_message_and_detail_and_leaves_no_identity() {
    for case in cases() {
        let mut client = case.app.connect();
        refused(&mut client, &case.token, case.sqlstate, case.reason, case.words);
    }
}

#[test]
fn each_bad_token_takes_away_the_identity_before_it() {
    let mut client = app(&[]).connect();
    for case in of_tokens() {
        accepted(&mut client, &token(&KEY, ISS));
        refused(&mut client, &case.token, case.sqlstate, case.reason, case.words);
    }
}

#[test]
fn the_reasons_are_all_there_is() {
    let reasons: BTreeSet<_> = cases().iter().map(|case| case.reason).collect();
    // A NULL token has a test of its own, and so have wrong settings.
    assert_eq!(reasons.len(), 26, "{reasons:?}");
}

#[test]
fn a_null_token_is_refused() {
    let mut client = app(&[]).connect();
    accepted(&mut client, &token(&KEY, ISS));
    for statement in ["SELECT auth.jwt_session_init(NULL)", "SELECT auth.jwt_session_init(NULL, NULL)"] {
        let error = pg_error(&client.batch_execute(statement).expect_err("refused"));
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("22023", "JWT rejected: token missing"));
        assert_eq!(error.detail.as_deref(), Some("The token is NULL."));
        assert!(sees(&mut client).is_empty());
    }
}

#[test]
fn claims_that_the_database_cannot_hold_are_refused() {
    let mut client = app(&[]).connect();
    let mut claims = pg_test::claims(ISS, "alice");
    claims["nul"] = json!("a\u{0}b");
    let error = init(&mut client, &KEY.sign(&claims)).expect_err("refused");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("22P05", "JWT rejected: claim not representable"));
    assert!(sees(&mut client).is_empty());
}
