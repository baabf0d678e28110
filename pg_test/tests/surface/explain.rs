//! `auth.jwt_explain`: one row a check, in order, and nothing changes.

use pg_test::login::{accepted, sees, token};
use postgres::Client;

use crate::cases::{ISS, KEY, app, cases};

const CHECKS: [&str; 14] = [
    "format",
    "algorithm",
    "issuer",
    "key",
    "signature",
    "claims",
    "expiry",
    "not_before",
    "audience",
    "scope",
    "type",
    "claims_required",
    "revocation",
    "role",
];

struct Row {
    check: String,
    ok: Option<bool>,
    detail: Option<String>,
}

/// The explanation, which has the rows that it always has.
#[track_caller]
fn explained(client: &mut Client, token: Option<&str>) -> Vec<Row> {
    let rows = client.query("SELECT \"check\", ok, detail FROM auth.jwt_explain($1)", &[&token]).expect("jwt_explain");
    let rows: Vec<_> = rows.iter().map(|row| Row { check: row.get(0), ok: row.get(1), detail: row.get(2) }).collect();
    assert_eq!(rows.iter().map(|row| &row.check).collect::<Vec<_>>(), CHECKS);
    for row in &rows {
        match (row.ok, &row.detail) {
            (Some(true), None) => {}
            (Some(false) | None, Some(detail)) => {
                let sentence = detail.starts_with(|first: char| first.is_ascii_uppercase()) && detail.ends_with('.');
                assert!(sentence, "{detail:?}");
            }
            (ok, detail) => panic!("{}: {ok:?} {detail:?}", row.check),
        }
        let text = row.detail.as_deref().unwrap_or_default();
        for part in token.unwrap_or_default().split('.').filter(|part| part.len() > 8) {
            assert!(!text.contains(part), "{text}");
        }
    }
    rows
}

#[test]
fn a_good_token_passes_each_check() {
    let app = app(&[("required_scope", "read"), ("token_type", "access"), ("max_token_age", "1h")]);
    let mut claims = pg_test::claims(ISS, "alice");
    claims["scope"] = "read write".into();
    let header = serde_json::json!({ "alg": "ES256", "kid": "k", "typ": "at+jwt" });
    let rows = explained(&mut app.connect(), Some(&KEY.sign_with(&header, &claims)));
    assert!(rows.iter().all(|row| row.ok == Some(true)));
}

#[test]
fn a_bad_token_fails_the_check_that_it_fails() {
    for case in cases() {
        let rows = explained(&mut case.app.connect(), Some(&case.token));
        let at = CHECKS.iter().position(|check| *check == case.check).expect("a check");
        assert_eq!(rows[at].ok, Some(false), "{}: {}", case.reason, case.check);
        let detail = rows[at].detail.as_deref().expect("a detail");
        assert!(detail.contains(case.words), "{detail:?} has no {:?}", case.words);
        for row in &rows[..at] {
            assert_ne!(row.ok, Some(false), "{}: {} fails before", case.reason, row.check);
        }
    }
}

#[test]
fn the_signature_is_judged_where_later_checks_fail() {
    let mut client = app(&[]).connect();
    let mut later = cases();
    later.retain(|case| ["expiry", "not_before", "audience", "claims"].contains(&case.check));
    later.retain(|case| case.sqlstate != "55000" && case.reason != "token too old");
    assert!(later.len() > 3, "{}", later.len());
    for case in later {
        let rows = explained(&mut client, Some(&case.token));
        assert_eq!((rows[3].ok, rows[4].ok), (Some(true), Some(true)), "{}", case.reason);
    }
}

#[test]
fn several_faults_are_found_at_once() {
    let mut claims = pg_test::claims(ISS, "alice");
    claims["aud"] = "shop".into();
    claims["exp"] = 1.into();
    let stranger = pg_test::SigningKey::generate(pg_test::Alg::Es256, "k");
    let rows = explained(&mut app(&[("required_scope", "read")]).connect(), Some(&stranger.sign(&claims)));
    let failed: Vec<_> = rows.iter().filter(|row| row.ok == Some(false)).map(|row| row.check.as_str()).collect();
    assert_eq!(failed, ["signature", "expiry", "audience", "scope"]);
}

#[test]
fn an_explanation_changes_nothing() {
    let mut client = app(&[]).connect();
    let good = token(&KEY, ISS);
    explained(&mut client, Some(&good));
    assert!(sees(&mut client).is_empty(), "an explanation is no login");
    accepted(&mut client, &good);
    for case in cases() {
        explained(&mut client, Some(&case.token));
        assert_eq!(sees(&mut client), ["alice"], "{}", case.reason);
    }
    client.batch_execute("BEGIN READ ONLY").expect("BEGIN");
    explained(&mut client, Some(&good));
    client.batch_execute("ROLLBACK").expect("ROLLBACK");
}

#[test]
fn what_is_no_token_is_explained_as_well() {
    let mut client = app(&[]).connect();
    for token in [None, Some(""), Some("."), Some(".."), Some("\u{e9}.\u{e9}.\u{e9}"), Some(&*"a".repeat(20_000))] {
        let rows = explained(&mut client, token);
        assert_eq!(rows[0].ok, Some(false));
        assert!(rows[1..].iter().all(|row| row.ok.is_none()));
    }
}
