//! `auth.revoke()` and `auth.revocations`.

use crate::server::*;
use pg_test::wait::eventually;
use pg_test::{Cluster, pg_error};
use serde_json::json;

#[test]
fn each_argument_means_what_it_names() {
    let database = Database::new("arguments");
    let mut admin = database.superuser();
    let claims = json!({ "sid": "s-1", "jti": "t-1" });
    let own = token_with(&claims);
    for (arguments, is_meant) in [
        ("subject => 'alice'", true),
        ("subject => 'Alice'", false),
        ("session => 's-1'", true),
        ("session => 't-1'", false),
        ("token_id => 't-1'", true),
        ("token_id => 's-1'", false),
        ("issuer => 'https://issuer.test'", true),
        ("issuer => 'https://issuer.test/'", false),
        ("subject => 'alice', issuer => 'https://issuer.test'", true),
        ("subject => 'alice', issuer => 'https://another.test'", false),
        ("subject => 'bob', session => 's-1'", false),
        ("subject => 'alice', issued_before => '2020-01-01'", false),
        ("token_id => 't-1', issued_before => '2020-01-01'", true),
        ("subject => 'alice', issued_before => 'infinity'", true),
    ] {
        let mut session = with_identity(database.app(), &own);
        let entry: i64 = value(&mut admin, &format!("SELECT auth.revoke({arguments}, reason => 'a test')"));
        match is_meant {
            true => loses(&mut session, "token revoked"),
            false => assert_eq!(notes(&mut session), [1, 3], "{arguments}"),
        }
        let refused = init(&mut database.app(), &own);
        assert_eq!(refused.is_err(), is_meant, "{arguments}");
        if let Err(error) = refused {
            assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("28000", "JWT rejected: token revoked"));
        }
        assert_eq!(admin.execute("DELETE FROM auth.revocations WHERE id = $1", &[&entry]).expect("DELETE"), 1);
        assert_eq!(notes(&mut session), [1, 3], "{arguments}, taken back");
    }
}

#[test]
fn one_token_is_revoked_and_not_kept() {
    let database = Database::new("one_token");
    let mut admin = database.superuser();
    let (leaked, other) = (token_with(&json!({ "jti": "1" })), token_with(&json!({ "jti": "2" })));
    let mut session = with_identity(database.app(), &leaked);
    let mut fine = with_identity(database.app(), &other);
    admin.execute("SELECT auth.revoke(token => $1)", &[&leaked]).expect("revoked");
    loses(&mut session, "token revoked");
    assert_eq!(notes(&mut fine), [1, 3]);
    let kept: String = value(&mut admin, "SELECT row_to_json(r)::text FROM auth.revocations r");
    assert!(leaked.split('.').all(|part| !kept.contains(part)), "{kept}");
    let error = refused(&mut admin, "SELECT auth.revoke(token => 'no-token')");
    assert_eq!(error.sqlstate, "22023");
    let shown: String = value(&mut admin, "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()");
    assert!(!shown.contains(&leaked), "{shown}");
}

#[test]
fn tokens_that_are_issued_after_a_revocation_are_accepted() {
    let database = Database::new("issued_after");
    run(&mut database.superuser(), "SELECT auth.revoke(subject => 'alice')");
    let mut session = database.app();
    assert_eq!(init(&mut session, &token("alice")).expect_err("issued before").message, "JWT rejected: token revoked");
    let later = token_with(&json!({ "iat": pg_test::now() + 5 }));
    init(&mut session, &later).expect("issued after");
    let undated = pg_test::claims(ISSUER, "alice");
    let mut undated = undated.as_object().expect("an object").clone();
    undated.remove("iat");
    let undated = KEY.sign(&undated.into());
    assert_eq!(init(&mut session, &undated).expect_err("no iat").message, "JWT rejected: token revoked");
}

#[test]
fn remembered_tokens_are_refused_too() {
    let database = Database::new("remembered");
    let mut session = database.app();
    let own = token("alice");
    for _ in 0..3 {
        init(&mut session, &own).expect("a good token");
    }
    let mut admin = database.superuser();
    run(&mut admin, "SELECT auth.revoke(subject => 'alice')");
    for _ in 0..2 {
        assert_eq!(init(&mut session, &own).expect_err("revoked").message, "JWT rejected: token revoked");
    }
    run(&mut admin, "DELETE FROM auth.revocations");
    init(&mut session, &own).expect("taken back");
}

#[test]
fn revoking_is_transactional() {
    let database = Database::new("transactional");
    let mut session = alice(database.app());
    let mut admin = database.superuser();
    run(&mut admin, "BEGIN; SELECT auth.revoke(subject => 'alice')");
    assert_eq!(notes(&mut session), [1, 3], "not committed yet");
    init(&mut database.app(), &token("alice")).expect("not committed yet");
    run(&mut admin, "ROLLBACK");
    assert_eq!(notes(&mut session), [1, 3], "rolled back");
    run(&mut admin, "BEGIN; SELECT auth.revoke(subject => 'alice'); COMMIT");
    loses(&mut session, "token revoked");
    run(&mut admin, "BEGIN; DELETE FROM auth.revocations");
    loses(&mut session, "token revoked");
    run(&mut admin, "ROLLBACK");
    loses(&mut session, "token revoked");
    run(&mut admin, "TRUNCATE auth.revocations");
    assert_eq!(notes(&mut session), [1, 3]);
    // The session that revokes sees it at once.
    init(&mut admin, &token("alice")).expect("a good token");
    run(&mut admin, "BEGIN; SELECT auth.revoke(subject => 'alice')");
    assert_lost(&refused(&mut admin, "SELECT auth.user_id()"), "token revoked");
    run(&mut admin, "ROLLBACK");
    assert_eq!(value::<String>(&mut admin, "SELECT auth.user_id()"), "alice");
    // An entry that is changed.
    run(&mut admin, "SELECT auth.jwt_session_clear(); SELECT auth.revoke(subject => 'carol')");
    assert_eq!(notes(&mut session), [1, 3]);
    run(&mut admin, "UPDATE auth.revocations SET subject = 'alice' WHERE subject = 'carol'");
    loses(&mut session, "token revoked");
}

/// While the file of the table is empty, nobody looks into the table.
#[test]
fn the_first_revocation_counts_wherever_there_was_none() {
    let database = Database::new("first");
    let mut admin = database.superuser();
    let empty = "SELECT pg_relation_size('auth.revocations') = 0";
    for emptied in ["TRUNCATE auth.revocations", "DELETE FROM auth.revocations", "VACUUM auth.revocations"] {
        run(&mut admin, emptied);
        assert_eq!(value::<bool>(&mut admin, empty), !emptied.starts_with("DELETE"), "{emptied}");
        let mut session = alice(database.app());
        let mut other = database.app();
        init(&mut other, &token("bob")).expect("a good token");
        run(&mut admin, "SELECT auth.revoke(subject => 'alice')");
        loses(&mut session, "token revoked");
        for session in [&mut other, &mut database.app()] {
            let error = init(session, &token("alice")).expect_err("revoked");
            assert_eq!(error.message, "JWT rejected: token revoked", "{emptied}");
        }
        run(&mut admin, "DELETE FROM auth.revocations");
    }
}

#[test]
fn only_the_privileged_revoke_and_read() {
    let database = Database::new("privileges");
    let mut app = database.app();
    for statement in [
        "SELECT auth.revoke(subject => 'bob')",
        "SELECT * FROM auth.revocations",
        "INSERT INTO auth.revocations (subject) VALUES ('bob')",
        "DELETE FROM auth.revocations",
        "SELECT auth.jwt_hash('a.b.c')",
        "SELECT * FROM auth.jwt_logout_verified('a.b.c')",
    ] {
        assert_eq!(refused(&mut app, statement).sqlstate, "42501", "{statement}");
    }
    let mut admin = database.superuser();
    run(&mut admin, "GRANT EXECUTE ON FUNCTION auth.revoke TO app");
    run(&mut app, "SELECT auth.revoke(subject => 'bob')");
    assert_eq!(value::<String>(&mut admin, "SELECT revoked_by::text FROM auth.revocations"), "app");
    for (statement, sqlstate) in [
        ("SELECT auth.revoke()", "22023"),
        ("SELECT auth.revoke(reason => 'nobody is named')", "22023"),
        ("SELECT auth.revocation_changed()", "39P01"),
    ] {
        assert_eq!(refused(&mut admin, statement).sqlstate, sqlstate, "{statement}");
    }
}

#[test]
fn claims_beyond_the_size_of_an_index_entry_are_found() {
    let database = Database::new("long_claims");
    let long = "x".repeat(4000);
    let mut session = with_identity(database.app(), &token_with(&json!({ "sub": long })));
    database.superuser().execute("SELECT auth.revoke(subject => $1)", &[&long]).expect("revoked");
    assert_lost(&refused(&mut session, "SELECT auth.user_id()"), "token revoked");
}

#[test]
fn a_database_of_another_encoding() {
    let cluster = started(options());
    cluster.create_database("latin", "LATIN1");
    run(&mut cluster.connect("postgres", "latin"), "CREATE EXTENSION IF NOT EXISTS pg_jwks");
    let mut session = with_identity(cluster.connect("app", "latin"), &token_with(&json!({ "sub": "Jürgen" })));
    let mut admin = cluster.connect("postgres", "latin");
    admin.execute("SELECT auth.revoke(subject => $1)", &[&"Jurgen"]).expect("revoked");
    assert_eq!(value::<String>(&mut session, "SELECT auth.user_id()"), "Jürgen");
    admin.execute("SELECT auth.revoke(subject => $1)", &[&"Jürgen"]).expect("revoked");
    assert_lost(&refused(&mut session, "SELECT auth.user_id()"), "token revoked");
}

/// Other databases have revocations of their own, and one without the extension has none.
#[test]
fn databases_do_not_share_revocations() {
    let cluster = started(options().setting("shared_preload_libraries", "pg_jwks"));
    run(&mut admin(&cluster), "CREATE DATABASE one");
    run(&mut admin(&cluster), "CREATE DATABASE two");
    let mut one = alice(cluster.connect("app", "one"));
    let mut two = alice(cluster.connect("app", "two"));
    run(&mut cluster.connect("postgres", "one"), "SELECT auth.revoke(subject => 'alice')");
    loses(&mut one, "token revoked");
    assert_eq!(notes(&mut two), [1, 3]);
    let mut admin = cluster.connect("postgres", "two");
    // A table of this name that is not the extension's does not count, and is not read.
    run(&mut admin, "ALTER EXTENSION pg_jwks DROP TABLE auth.revocations; SELECT auth.revoke(subject => 'alice')");
    assert_eq!(notes(&mut two), [1, 3]);
    run(&mut admin, "ALTER EXTENSION pg_jwks ADD TABLE auth.revocations; ANALYZE auth.revocations");
    loses(&mut two, "token revoked");
}

#[test]
fn a_standby_refuses_as_soon_as_it_has_replayed_the_commit() {
    for preload in ["", "pg_jwks"] {
        let primary = started(options().setting("shared_preload_libraries", preload));
        let standby = primary.replica();
        let mut session = eventually("the role on the standby", || {
            standby.try_connect(standby.config().user("app").dbname("app")).ok()
        });
        init(&mut session, &token("alice")).expect("a good token");
        assert_eq!(notes(&mut session), [1, 3]);
        run(&mut session, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT id FROM note; SAVEPOINT s");
        run(&mut admin(&primary), "SELECT auth.revoke(subject => 'alice')");
        replayed(&primary, &standby);
        assert_lost(&refused(&mut session, "SELECT id FROM note"), "token revoked");
        run(&mut session, "ROLLBACK");
        loses(&mut session, "token revoked");
        run(&mut admin(&primary), "DELETE FROM auth.revocations");
        replayed(&primary, &standby);
        assert_eq!(notes(&mut session), [1, 3]);
    }
}

fn replayed(primary: &Cluster, standby: &Cluster) {
    let position: String = value(&mut admin(primary), "SELECT pg_current_wal_lsn()::text");
    let mut client = standby.client();
    eventually("the replay", || {
        let has = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
        value::<bool>(&mut client, &has).then_some(())
    });
}

#[test]
fn a_logical_replica_refuses_what_its_publisher_revokes() {
    let publisher = started(options().setting("wal_level", "logical"));
    let subscriber = started(options());
    let mut session = alice(subscriber.connect("app", "app"));
    run(&mut admin(&publisher), "CREATE PUBLICATION revocations FOR TABLE auth.revocations");
    let source =
        format!("host={} port={} user=postgres dbname=app", publisher.socket_dir().display(), publisher.port());
    run(
        &mut admin(&subscriber),
        &format!("CREATE SUBSCRIPTION revocations CONNECTION '{source}' PUBLICATION revocations"),
    );
    run(&mut admin(&publisher), "SELECT auth.revoke(subject => 'alice')");
    eventually("the loss", || session.batch_execute("SELECT id FROM note").err());
    loses(&mut session, "token revoked");
    run(&mut admin(&publisher), "DELETE FROM auth.revocations");
    eventually("the return", || session.batch_execute("SELECT id FROM note").ok());
    run(&mut admin(&subscriber), "DROP SUBSCRIPTION revocations");
}

#[test]
fn dumps_keep_revocations() {
    let cluster = started(options());
    run(&mut admin(&cluster), "SELECT auth.revoke(subject => 'alice', issued_before => 'infinity', reason => 'left')");
    run(&mut admin(&cluster), "CREATE DATABASE restored TEMPLATE template0");
    let dump = cluster.program("pg_dump").args(["-U", "postgres", "app"]).output().expect("pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let path = cluster.write_bytes("dump.sql", &dump.stdout);
    cluster.run_sql_file("postgres", "restored", &path).expect("a restore");
    let mut session = cluster.connect("app", "restored");
    assert_eq!(init(&mut session, &token("alice")).expect_err("revoked").message, "JWT rejected: token revoked");
    let mut admin = cluster.connect("postgres", "restored");
    assert_eq!(value::<String>(&mut admin, "SELECT reason FROM auth.revocations"), "left");
    run(&mut admin, "SELECT auth.revoke(subject => 'bob')");
    assert_eq!(value::<i64>(&mut admin, "SELECT count(DISTINCT id) FROM auth.revocations"), 2);
}

#[test]
fn a_role_that_may_not_read_the_table_is_judged_by_it() {
    let database = Database::new("row_security");
    let mut admin = database.superuser();
    run(
        &mut admin,
        "ALTER TABLE auth.revocations ENABLE ROW LEVEL SECURITY; SELECT auth.revoke(subject => 'alice', issued_before => 'infinity')",
    );
    let mut session = database.app();
    run(&mut session, "SET row_security = off");
    assert_eq!(init(&mut session, &token("alice")).expect_err("revoked").message, "JWT rejected: token revoked");
}

#[test]
fn the_explanation_says_that_a_token_is_revoked() {
    let database = Database::new("explained");
    run(&mut database.superuser(), "SELECT auth.revoke(subject => 'alice', issued_before => 'infinity')");
    let row = database
        .app()
        .query_one("SELECT ok, detail FROM auth.jwt_explain($1) WHERE \"check\" = 'revocation'", &[&token("alice")])
        .expect("a row");
    assert_eq!(
        (row.get::<_, Option<bool>>(0), row.get::<_, String>(1).as_str()),
        (Some(false), "The token was revoked.")
    );
    let row = database
        .superuser()
        .query_one("SELECT detail FROM auth.jwt_explain($1) WHERE NOT ok", &[&token("alice")])
        .expect("a row");
    assert_eq!(row.get::<_, String>(0), "Entry 1 of auth.revocations means the token.");
}

/// A login keeps no lock, and leaves no trace for serializable transactions.
#[test]
fn judging_disturbs_no_serializable_transaction() {
    let database = Database::new("serializable");
    let mut admin = database.superuser();
    let mut sessions: Vec<_> = (0..2).map(|_| alice(database.app())).collect();
    for session in &mut sessions {
        run(session, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT id FROM note");
    }
    run(&mut admin, "SELECT auth.revoke(subject => 'somebody')");
    for (id, session) in sessions.iter_mut().enumerate() {
        run(session, &format!("SELECT 1; INSERT INTO note VALUES ({}, 'alice')", 30 + id));
        run(session, "SET TRANSACTION READ WRITE");
    }
    run(&mut admin, "SELECT auth.revoke(subject => 'somebody else')");
    let committed = sessions.iter_mut().map(|session| session.batch_execute("COMMIT"));
    let failed: Vec<_> = committed.filter_map(Result::err).map(|error| pg_error(&error).sqlstate).collect();
    // Both have read what the other has inserted, so one of them fails; the revocations add nothing.
    assert!(failed.len() <= 1 && failed.iter().all(|sqlstate| sqlstate == "40001"), "{failed:?}");
}
