//! `pg_jwks.session_scope`: a belt behind poolers that share connections between transactions.

use serde_json::json;

use crate::server::*;

#[test]
fn an_identity_for_the_session_is_refused_where_only_transactions_may_have_one() {
    let database = database("session_scope", &[]);
    let mut client = app(&database);
    init(&mut client, &token(json!({})));
    run(&mut server().client(), &format!("ALTER DATABASE {database} SET pg_jwks.session_scope = 'transaction'"));
    let mut client = app(&database);
    let error = try_init(&mut client, &token(json!({})), false).unwrap_err();
    assert_eq!(error.sqlstate, "55000");
    assert_eq!(error.message, "identity for the whole session not allowed");
    assert!(error.hint.expect("a hint").contains("auth.jwt_session_init(token, true)"));
    let error = refused(&mut client, &format!("SELECT auth.jwt_session_init('{}', NULL)", token(json!({}))));
    assert_eq!(error.sqlstate, "55000");
    run(&mut client, "BEGIN");
    try_init(&mut client, &token(json!({})), true).expect("a local identity");
    assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()").as_deref(), Some("alice"));
    assert!(try_init(&mut client, &token(json!({ "sub": "bob" })), false).is_err());
    run(&mut client, "ROLLBACK");
    assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None, "it fails closed");
}
