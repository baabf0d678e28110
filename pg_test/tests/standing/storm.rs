//! Many sessions read while users are revoked and reinstated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pg_test::{long, pg_error};
use postgres::Client;

use crate::server::*;

const READERS: usize = 16;
const USERS: usize = 8;

/// What is known of a user: a number that grows. Its rest by four says whether tokens are accepted, surely or not.
struct User {
    name: String,
    phase: AtomicU64,
}

const ACCEPTED: u64 = 0;
const REVOKED: u64 = 2;

impl User {
    fn next_phase(&self) {
        self.phase.fetch_add(1, Ordering::SeqCst);
    }

    /// The phase in which all of `statement` ran; `None` if it changed meanwhile or is none of those two.
    fn phase_of(&self, statement: impl FnOnce()) -> Option<u64> {
        let before = self.phase.load(Ordering::SeqCst);
        statement();
        let settled = [ACCEPTED, REVOKED].contains(&(before % 4)) && self.phase.load(Ordering::SeqCst) == before;
        settled.then_some(before % 4)
    }
}

/// Statements that show whose rows the session sees.
const STATEMENTS: [&str; 3] = [
    "SELECT count(*) FROM note WHERE owner = $1",
    "SELECT count(*) FROM wrapped WHERE owner = $1",
    "SELECT count(*) FROM (SELECT auth.user_id() AS id) AS me WHERE id = $1",
];

/// Whether a statement reads as the user; otherwise it must be refused for the revocation.
fn reads(session: &mut Client, statement: &str, user: &str) -> bool {
    match session.query_one(statement, &[&user]) {
        Ok(row) => {
            assert!(row.get::<_, i64>(0) > 0, "an identity is gone without an error");
            true
        }
        Err(error) => {
            assert_lost(&pg_error(&error), "token revoked");
            false
        }
    }
}

/// Reads until the end, every second time in a transaction that began before; how many statements read and did not.
fn reader(mut session: Client, user: &User, stop: &AtomicBool) -> [u64; 2] {
    let own = token(&user.name);
    let mut counts = [0, 0];
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut accepted = false;
        if let Some(phase) = user.phase_of(|| accepted = init(&mut session, &own).is_ok()) {
            assert_eq!(accepted, phase == ACCEPTED, "a new init of {}", user.name);
        }
        if !accepted {
            continue;
        }
        if turn % 2 == 1 && session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").is_err() {
            session.batch_execute("ROLLBACK").expect("ROLLBACK passes");
            continue;
        }
        for statement in STATEMENTS.into_iter().cycle().take(12) {
            let mut read = false;
            if let Some(phase) = user.phase_of(|| read = reads(&mut session, statement, &user.name)) {
                assert_eq!(read, phase == ACCEPTED, "{} in phase {phase}: {statement}", user.name);
                counts[usize::from(!read)] += 1;
            }
            if !read {
                break;
            }
        }
        session.batch_execute("ROLLBACK").expect("ROLLBACK passes");
    }
    counts
}

/// Revokes and reinstates one user after the other until the end.
fn revoke_and_reinstate(mut admin: Client, users: &[User], end: Instant) {
    for user in users.iter().cycle() {
        if Instant::now() > end {
            break;
        }
        user.next_phase();
        admin.execute("SELECT auth.revoke(subject => $1)", &[&user.name]).expect("revoked");
        user.next_phase();
        thread::sleep(Duration::from_millis(10));
        user.next_phase();
        admin.execute("DELETE FROM auth.revocations WHERE subject = $1", &[&user.name]).expect("reinstated");
        user.next_phase();
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn no_statement_that_begins_after_the_commit_reads_with_a_revoked_identity() {
    let database = Database::new("storm");
    let users: Vec<_> =
        (0..USERS).map(|number| User { name: format!("user{number}"), phase: AtomicU64::new(ACCEPTED) }).collect();
    for table in ["note", "wrapped"] {
        let rows = format!("INSERT INTO {table} SELECT 100 + n, 'user' || n FROM generate_series(0, {}) n", USERS - 1);
        run(&mut database.superuser(), &rows);
    }
    let stop = AtomicBool::new(false);
    let counts: Vec<[u64; 2]> = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let (user, stop, session) = (&users[number % USERS], &stop, database.app());
                scope.spawn(move || reader(session, user, stop))
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(if long::is_asked_for() { 60 } else { 5 });
        revoke_and_reinstate(database.superuser(), &users, end);
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
    });
    let [read, refused] = counts.iter().fold([0, 0], |sum, count| [sum[0] + count[0], sum[1] + count[1]]);
    println!("{read} statements read, {refused} were refused");
    assert!(read > 1000 && refused > 20, "{read} statements read, {refused} were refused");
}
