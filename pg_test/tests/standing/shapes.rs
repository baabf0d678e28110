//! Whatever runs when an identity is lost: the next statement within it is refused.

use crate::server::*;
use pg_test::{Credentials, RawClient, pg_error};

/// A database and alice's session in it, and the statement of the superuser by which she loses her identity.
const REVOKE: &str = "SELECT auth.revoke(subject => 'alice')";

fn lost(database: &Database, session: &mut postgres::Client) {
    assert_eq!(value::<String>(session, "SELECT auth.user_id()"), "alice");
    run(&mut database.superuser(), REVOKE);
}

#[test]
fn prepared_statements() {
    let database = Database::new("prepared");
    let mut session = alice(database.app());
    run(&mut session, "PREPARE mine AS SELECT id FROM note; PREPARE nothing AS SELECT 1");
    run(&mut session, "EXECUTE mine");
    run(&mut session, "SET plan_cache_mode = force_generic_plan; EXECUTE mine");
    let statement = session.prepare("SELECT id FROM note WHERE id > $1").expect("a statement");
    assert_eq!(session.query(&statement, &[&0]).expect("notes").len(), 2);
    lost(&database, &mut session);
    assert_lost(&refused(&mut session, "EXECUTE mine"), "token revoked");
    run(&mut session, "EXECUTE nothing");
    assert_lost(&pg_error(&session.query(&statement, &[&0]).expect_err("lost")), "token revoked");
}

#[test]
fn open_cursors() {
    let database = Database::new("cursors");
    for table in ["note", "wrapped"] {
        run(&mut database.superuser(), "DELETE FROM auth.revocations");
        let mut session = alice(database.app());
        run(&mut session, &format!("BEGIN; DECLARE c CURSOR FOR SELECT id FROM {table}; FETCH 1 FROM c"));
        run(&mut database.superuser(), REVOKE);
        assert_lost(&refused(&mut session, "FETCH 1 FROM c"), "token revoked");
        run(&mut session, "ROLLBACK");
    }
}

/// A portal of the protocol is resumed without a statement.
#[test]
fn portals_that_are_resumed() {
    let database = Database::new("portals");
    for table in ["note", "wrapped"] {
        run(&mut database.superuser(), "DELETE FROM auth.revocations");
        let mut session = alice(database.app());
        let mut transaction = session.transaction().expect("a transaction");
        let portal = transaction.bind(&format!("SELECT id FROM {table}"), &[]).expect("a portal");
        assert_eq!(transaction.query_portal(&portal, 1).expect("a row").len(), 1);
        run(&mut database.superuser(), REVOKE);
        assert_lost(&pg_error(&transaction.query_portal(&portal, 1).expect_err(table)), "token revoked");
    }
}

#[test]
fn functions_that_loop() {
    let database = Database::new("loops");
    run(
        &mut database.superuser(),
        "CREATE FUNCTION seen() RETURNS int LANGUAGE plpgsql AS $$
         DECLARE n int := 0; found int;
         BEGIN
             LOOP
                 SELECT count(*) INTO found FROM note;
                 n := n + found;
                 EXIT WHEN found = 0 OR n > 100000;
                 PERFORM pg_sleep(0.01);
             END LOOP;
             RETURN n;
         END$$;
         CREATE FUNCTION swallowed() RETURNS text LANGUAGE plpgsql AS $$
         DECLARE n int := 0; who text;
         BEGIN
             LOOP
                 BEGIN
                     SELECT owner INTO who FROM note LIMIT 1;
                     PERFORM pg_sleep(0.01);
                 EXCEPTION WHEN invalid_authorization_specification THEN
                     n := n + 1;
                     who := 'caught';
                 END;
                 IF n > 0 THEN
                     BEGIN
                         who := auth.user_id();
                     EXCEPTION WHEN invalid_authorization_specification THEN
                         RETURN who || ' twice';
                     END;
                     RETURN who;
                 END IF;
             END LOOP;
         END$$;",
    );
    for (call, outcome) in [("SELECT seen()::text", None), ("SELECT swallowed()", Some("caught twice"))] {
        run(&mut database.superuser(), "DELETE FROM auth.revocations");
        let mut session = alice(database.app());
        let running = std::thread::spawn(move || session.query_one(call, &[]).map(|row| row.get::<_, String>(0)));
        std::thread::sleep(std::time::Duration::from_millis(300));
        run(&mut database.superuser(), REVOKE);
        let ended = running.join().expect("a thread");
        match outcome {
            None => assert_lost(&pg_error(&ended.expect_err("lost")), "token revoked"),
            Some(outcome) => assert_eq!(ended.expect("a text"), outcome),
        }
    }
}

#[test]
fn transactions_that_began_before() {
    let database = Database::new("transactions");
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        run(&mut database.superuser(), "DELETE FROM auth.revocations");
        let mut session = alice(database.app());
        run(&mut session, &format!("BEGIN ISOLATION LEVEL {level}; SELECT id FROM note; SAVEPOINT s"));
        run(&mut database.superuser(), REVOKE);
        assert_lost(&refused(&mut session, "SELECT id FROM note"), "token revoked");
        run(&mut session, "ROLLBACK TO s");
        assert_lost(&refused(&mut session, "SELECT id FROM note"), "token revoked");
        run(&mut session, "ROLLBACK");
        // The snapshot is from after the change.
        run(&mut session, &format!("BEGIN ISOLATION LEVEL {level}"));
        assert_lost(&refused(&mut session, "SELECT id FROM note"), "token revoked");
        run(&mut session, "ROLLBACK");
    }
}

#[test]
fn a_transaction_of_a_lost_identity_does_not_commit() {
    let database = Database::new("commits");
    let mut session = alice(database.app());
    run(&mut session, "BEGIN; INSERT INTO note VALUES (20, 'alice')");
    run(&mut database.superuser(), REVOKE);
    assert_lost(&refused(&mut session, "COMMIT"), "token revoked");
    run(&mut session, "ROLLBACK");
    assert_eq!(value::<i64>(&mut database.superuser(), "SELECT count(*) FROM note WHERE id = 20"), 0);
}

#[test]
fn a_session_can_leave_a_lost_identity() {
    let database = Database::new("leaving");
    for leave in ["SELECT auth.jwt_session_clear()", "RESET ALL", "DISCARD ALL", "RESET pg_jwks.session"] {
        run(&mut database.superuser(), "DELETE FROM auth.revocations");
        let mut session = alice(database.app());
        run(&mut database.superuser(), REVOKE);
        loses(&mut session, "token revoked");
        run(&mut session, leave);
        assert_eq!(notes(&mut session), [0; 0], "{leave}");
        init(&mut session, &token("bob")).expect("another user");
        assert_eq!(notes(&mut session), [2]);
    }
    run(&mut database.superuser(), "DELETE FROM auth.revocations");
    let mut session = alice(database.app());
    run(&mut database.superuser(), REVOKE);
    run(&mut session, "SELECT 1; SHOW pg_jwks.session; BEGIN; SAVEPOINT s; RELEASE s; ROLLBACK");
    init(&mut session, &token("bob")).expect("another user");
    assert_eq!(notes(&mut session), [2]);
}

#[test]
fn a_rollback_does_not_bring_a_lost_identity_back() {
    let database = Database::new("rollbacks");
    let mut session = alice(database.app());
    run(&mut session, "BEGIN; SAVEPOINT s");
    init(&mut session, &token("bob")).expect("another user");
    run(&mut database.superuser(), REVOKE);
    assert_eq!(notes(&mut session), [2], "bob stands");
    run(&mut session, "ROLLBACK TO s");
    assert_lost(&refused(&mut session, "SELECT id FROM note"), "token revoked");
    run(&mut session, "ROLLBACK");
    loses(&mut session, "token revoked");
}

/// All of it comes in one message, so the client sees no statement begin.
#[test]
fn several_statements_in_one_message() {
    let database = Database::new("messages");
    let mut session = alice(database.app());
    let (mut other, mut third) = (database.superuser(), database.superuser());
    run(&mut other, "SELECT pg_advisory_lock(1)");
    let waiting = std::thread::spawn(move || {
        let refused = refused(&mut session, "SELECT pg_advisory_lock(1); SELECT id FROM note");
        (session, refused)
    });
    pg_test::wait::eventually("the session waits", || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'";
        (value::<i64>(&mut third, waits) == 1).then_some(())
    });
    run(&mut third, REVOKE);
    run(&mut other, "SELECT pg_advisory_unlock(1)");
    let (_session, error) = waiting.join().expect("a thread");
    assert_lost(&error, "token revoked");
}

/// A function that is called by its OID runs no statement.
#[test]
fn functions_that_are_called_by_their_oid() {
    let cluster = started(options());
    let mut session = RawClient::connect(&cluster, "app", "app", Credentials::None).expect("a session");
    session.query(&format!("SELECT auth.jwt_session_init('{}')", token("alice"))).expect("a good token");
    let oid: u32 = value(&mut admin(&cluster), "SELECT 'auth.user_id()'::regprocedure::oid");
    session.call(oid, &[]).expect("a call");
    run(&mut admin(&cluster), REVOKE);
    assert_lost(&session.call(oid, &[]).expect_err("lost"), "token revoked");
}
