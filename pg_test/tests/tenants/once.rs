//! The lookup runs once a statement, and at each statement.

use std::thread::sleep;
use std::time::Duration;

use crate::server::*;

/// Memberships behind a view that counts, in a sequence, how often it is read.
fn counting(name: &str) -> Database {
    let schema = format!(
        "{USUAL} INSERT INTO note SELECT n, '{RED}' FROM generate_series(10, 2009) n; CREATE SEQUENCE reads;
         CREATE VIEW members AS SELECT * FROM users, LATERAL nextval('reads')"
    );
    Database::new(name, &schema).set("tenant_lookup", "public.members (id, tenant_id)")
}

fn reads(database: &Database) -> i64 {
    value(&mut database.superuser(), "SELECT last_value - 1 + is_called::int FROM reads")
}

#[test]
fn a_statement_looks_once() {
    let database = counting("once_counted");
    let mut client = database.app();
    init(&mut client, ALICE);
    for statement in [
        "SELECT count(*) FROM note",
        "SELECT count(*) FROM note WHERE tenant_id = get_current_user_tenant_id() AND auth.tenant_id() IS NOT NULL",
        "SELECT auth.tenant_id(), get_current_user_tenant_id(), (SELECT auth.tenant_id()) FROM generate_series(1, 100)",
        "UPDATE note SET id = id",
        "SELECT count(*) FROM note a JOIN note b USING (id)",
    ] {
        let before = reads(&database);
        run(&mut client, statement);
        // The view counts at each row that it reads: one of alice. A statement is planned with a snapshot of its own.
        let read = reads(&database) - before;
        assert!((1..=2).contains(&read), "{statement}: {read}");
    }
}

/// The same, by the server's own count.
#[test]
fn a_scan_of_many_rows_is_one_index_scan() {
    let schema = format!("{USUAL} INSERT INTO note SELECT n, '{RED}' FROM generate_series(10, 20000) n; ANALYZE");
    let database = Database::new("once_statistics", &schema);
    let mut superuser = database.superuser();
    sleep(Duration::from_millis(300));
    run(&mut superuser, "SELECT pg_stat_reset()");
    let mut client = database.app();
    init(&mut client, ALICE);
    for _ in 0..3 {
        assert_eq!(notes(&mut client).len(), 19_993);
    }
    drop(client);
    let (sequential, by_index) = scans(&mut superuser, "users", 6);
    assert!((3..=6).contains(&(sequential + by_index)), "{sequential} and {by_index}");
}

#[test]
fn a_prepared_statement_sees_the_tenant_of_the_moment() {
    let database = Database::new("once_prepared", USUAL);
    let mut dba = database.dba();
    for mode in ["force_generic_plan", "force_custom_plan", "auto"] {
        let mut client = database.app();
        run(&mut client, &format!("SET plan_cache_mode = {mode}"));
        let scan = client.prepare("SELECT id FROM note ORDER BY id").expect("a statement");
        let ids = |client: &mut postgres::Client| -> Vec<i32> {
            client.query(&scan, &[]).expect("notes").iter().map(|row| row.get(0)).collect()
        };
        for _ in 0..7 {
            assert_eq!(ids(&mut client), [0; 0]);
            init(&mut client, ALICE);
            assert_eq!(ids(&mut client), [1, 3]);
            run(&mut dba, &format!("UPDATE users SET tenant_id = '{BLUE}' WHERE id = '{ALICE}'"));
            assert_eq!(ids(&mut client), [2, 4]);
            run(&mut dba, &format!("UPDATE users SET tenant_id = '{RED}' WHERE id = '{ALICE}'"));
            init(&mut client, CAROL);
            run(&mut client, &format!("SELECT auth.set_tenant('{BLUE}')"));
            assert_eq!(ids(&mut client), [2, 4]);
            run(&mut client, &format!("SELECT auth.set_tenant('{RED}')"));
            assert_eq!(ids(&mut client), [1, 3]);
            run(&mut client, "SELECT auth.jwt_session_clear()");
        }
    }
}

/// Expressions that plpgsql keeps, with changes of its own transaction between them.
#[test]
fn loops_see_what_they_changed() {
    let database = Database::new("once_loops", USUAL);
    run(&mut database.dba(), "GRANT ALL ON users TO app");
    let mut client = database.app();
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        run(&mut client, &format!("SET default_transaction_isolation = '{isolation}'"));
        init(&mut client, ALICE);
        run(
            &mut client,
            &format!(
                "DO $$
                 DECLARE seen uuid; wanted uuid;
                 BEGIN
                    FOR n IN 1..20 LOOP
                        wanted := CASE n % 2 WHEN 0 THEN '{RED}' ELSE '{BLUE}' END;
                        UPDATE users SET tenant_id = wanted WHERE id = '{ALICE}';
                        seen := get_current_user_tenant_id();
                        IF seen IS DISTINCT FROM wanted THEN RAISE 'round %: %', n, seen; END IF;
                        BEGIN
                            DELETE FROM users WHERE id = '{ALICE}';
                            seen := get_current_user_tenant_id();
                            IF seen IS NOT NULL THEN RAISE 'deleted in round %: %', n, seen; END IF;
                            RAISE division_by_zero;
                        EXCEPTION WHEN division_by_zero THEN
                            NULL;
                        END;
                        seen := get_current_user_tenant_id();
                        IF seen IS DISTINCT FROM wanted THEN RAISE 'undone in round %: %', n, seen; END IF;
                    END LOOP;
                 END$$"
            ),
        );
    }
}

#[test]
fn a_rolled_back_change_is_forgotten() {
    let database = Database::new("once_savepoints", USUAL);
    run(&mut database.dba(), "GRANT ALL ON users TO app");
    let mut client = database.app();
    init(&mut client, ALICE);
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        run(&mut client, &format!("BEGIN ISOLATION LEVEL {isolation}"));
        assert_eq!(notes(&mut client), [1, 3]);
        for _ in 0..3 {
            run(&mut client, &format!("SAVEPOINT s; UPDATE users SET tenant_id = '{BLUE}' WHERE id = '{ALICE}'"));
            assert_eq!(notes(&mut client), [2, 4]);
            run(&mut client, "ROLLBACK TO s");
            assert_eq!(notes(&mut client), [1, 3]);
        }
        run(&mut client, "ROLLBACK");
    }
    // All in one message of the protocol, which is one statement to the clock.
    let change = format!("UPDATE users SET tenant_id = '{BLUE}' WHERE id = '{ALICE}'");
    for end in ["ROLLBACK", "COMMIT"] {
        run(&mut client, "CREATE TEMP TABLE seen (n int)");
        run(
            &mut client,
            &format!("SELECT auth.tenant_id(); BEGIN; {change}; {end}; INSERT INTO seen SELECT id FROM note"),
        );
        let seen: Vec<i32> = value(&mut client, "SELECT array_agg(n ORDER BY n) FROM seen");
        assert_eq!(seen, if end == "COMMIT" { [2, 4] } else { [1, 3] });
        run(&mut client, "DROP TABLE seen");
    }
}

/// A snapshot shows the memberships of its time.
#[test]
fn a_repeatable_transaction_has_one_tenant() {
    let database = Database::new("once_repeatable", USUAL);
    let mut client = database.app();
    init(&mut client, ALICE);
    run(&mut client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(notes(&mut client), [1, 3]);
    run(&mut database.dba(), &format!("UPDATE users SET tenant_id = '{BLUE}' WHERE id = '{ALICE}'"));
    assert_eq!(notes(&mut client), [1, 3]);
    run(&mut client, "COMMIT");
    assert_eq!(notes(&mut client), [2, 4]);
}

#[test]
fn an_open_cursor_keeps_valid_values() {
    let database = Database::new("once_cursor", USUAL);
    let mut client = database.app();
    init(&mut client, ALICE);
    run(
        &mut client,
        "BEGIN; DECLARE c CURSOR FOR SELECT auth.tenant_id(), auth.tenant_ids(), get_current_user_tenant_id()::text
             FROM generate_series(1, 1000)",
    );
    let next = |client: &mut postgres::Client| {
        let row = client.query_one("FETCH c", &[]).expect("a row");
        let (one, all, uuid) = (row.get::<_, Option<String>>(0), row.get::<_, Option<Vec<String>>>(1), row.get(2));
        assert_eq!((all, uuid), (one.clone().map(|tenant| vec![tenant]), one.clone()));
        one
    };
    for user in [ALICE, BOB, ALICE] {
        init(&mut client, user);
        for _ in 0..50 {
            assert_eq!(next(&mut client).as_deref(), Some(if user == ALICE { RED } else { BLUE }));
        }
    }
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(next(&mut client), None);
}

/// A loop that changes the table at each turn asks again at each turn, and keeps none of the answers.
#[test]
fn memory_does_not_grow() {
    let mut client = Database::new("once_memory", USUAL).superuser();
    run(&mut client, "CREATE TABLE tick (n int)");
    init(&mut client, ALICE);
    run(
        &mut client,
        &format!(
            "DO $$
             DECLARE used bigint; start bigint;
             BEGIN
                FOR n IN 1..21000 LOOP
                    INSERT INTO tick VALUES (n);
                    IF get_current_user_tenant_id() <> '{RED}' OR auth.tenant_id() <> '{RED}' THEN RAISE 'wrong'; END IF;
                    IF n = 1000 THEN
                        SELECT sum(total_bytes) INTO start FROM pg_backend_memory_contexts;
                    END IF;
                END LOOP;
                SELECT sum(total_bytes) INTO used FROM pg_backend_memory_contexts;
                IF used - start > 200000 THEN RAISE 'grown by % bytes', used - start; END IF;
             END$$"
        ),
    );
}

/// An open cursor: a bare call follows the identity, one in a SELECT of its own keeps what it found first.
#[test]
fn a_cursor_follows_the_identity_in_bare_calls_only() {
    let schema = format!(
        "{USUAL} CREATE POLICY wrapped ON note TO other USING (tenant_id = (SELECT get_current_user_tenant_id()));
         DROP POLICY own ON note; CREATE POLICY own ON note TO app USING (tenant_id = get_current_user_tenant_id())"
    );
    let database = Database::new("once_cursor_forms", &schema);
    for (role, rest) in [("app", &[2, 4][..]), ("other", &[3])] {
        let mut client = SERVER.connect(role, database.name());
        init(&mut client, ALICE);
        run(&mut client, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM note");
        assert_eq!(value::<i32>(&mut client, "FETCH c"), 1, "{role}");
        init(&mut client, BOB);
        let later: Vec<i32> = client.query("FETCH ALL c", &[]).expect("rows").iter().map(|row| row.get(0)).collect();
        assert_eq!(later, rest, "{role}");
    }
}
