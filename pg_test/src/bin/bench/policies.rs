//! The same table under row-level security, one role for each policy.

use postgres::{Client, Statement};

use crate::measure::{ProcessorClock, medians};
use crate::report::{Table, duration, ratio};
use crate::server::{SUB, Server};

const ROUNDS: usize = 15;

struct Session {
    client: Client,
    clock: ProcessorClock,
    scan: Statement,
}

/// Scans the table `note` that [`crate::reading`] made.
pub fn run(server: &Server) {
    let literal = format!("owner = '{SUB}'");
    let conditions = [
        literal.as_str(),
        "owner = auth.user_id()",
        "owner = (SELECT auth.user_id())",
        "owner = auth.claim('sub')",
        "owner = auth.user_id() AND auth.has_role('authenticated')",
    ];
    let mut owner = server.superuser();
    owner.batch_execute("ALTER TABLE note ENABLE ROW LEVEL SECURITY").expect("row-level security");
    let mut number = 0;
    let sessions = conditions.map(|condition| {
        number += 1;
        let role = format!("reader_{number}");
        owner
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN;
                 GRANT SELECT ON note TO {role};
                 CREATE POLICY {role} ON note TO {role} USING ({condition})"
            ))
            .expect("a policy");
        let mut client = server.cluster().connect(&role, "postgres");
        client.execute("SELECT auth.jwt_session_init($1)", &[&server.token(0)]).expect("a good token");
        let scan = client.prepare("SELECT count(*) FROM note").expect("a scan");
        Session { clock: ProcessorClock::of(&mut client), client, scan }
    });
    let mut counts = Vec::new();
    let times = medians(ROUNDS, sessions, |session| {
        session
            .clock
            .time(|| counts.push(session.client.query_one(&session.scan, &[]).expect("a scan").get::<_, i64>(0)))
    });
    assert!(counts[0] > 0 && counts.iter().all(|count| *count == counts[0]), "each role sees the user's rows");

    let mut table = Table::new("The same under row-level security", &["USING", "scan", "to literal"]);
    for (condition, time) in conditions.iter().zip(times) {
        table.line([(*condition).to_owned(), duration(time), ratio(time / times[0])]);
    }
    table.print();
}
