//! What each statement costs beside the same server without the library: what the hooks do.

use pg_test::Cluster;
use postgres::{Client, Statement};

use crate::measure::{ProcessorClock, median, medians};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

const STATEMENTS: u32 = 2_000;
const ROUNDS: usize = 9;
/// Two processes that do the same differ by several percent, as their memory lies, so there are several of each kind.
const SESSIONS: usize = 9;

/// One statement on one server.
struct Case {
    client: Client,
    statement: Statement,
    clock: ProcessorClock,
}

/// Short statements without the library, with it, and with an identity.
pub fn run(server: &Server) -> Vec<Target> {
    let without = server.without_library();
    let title = "A statement: the server's processor time, beside the same server without the library";
    let mut table = Table::new(title, &["", "without", "no identity", "to without", "identity", "to without"]);
    let mut targets = Vec::new();
    for (label, query) in
        [("SELECT 1", "SELECT 1"), ("a read by primary key", "SELECT value FROM entry WHERE id = 4711")]
    {
        let sessions: Vec<_> = (0..SESSIONS).map(|_| measure(server, &without, query)).collect();
        let middle = |figure: fn(&[f64; 3]) -> f64| median(sessions.iter().map(figure).collect());
        let [plain, nobody, user] = [middle(|times| times[0]), middle(|times| times[1]), middle(|times| times[2])];
        let [nobody_ratio, user_ratio] = [middle(|times| times[1] / times[0]), middle(|times| times[2] / times[0])];
        table.line([
            label.to_owned(),
            duration(plain),
            duration(nobody),
            ratio(nobody_ratio),
            duration(user),
            ratio(user_ratio),
        ]);
        targets.push((nobody_ratio, user_ratio));
    }
    table.print();
    let worst = |ratios: &mut dyn Iterator<Item = f64>| ratios.fold(0.0, f64::max);
    vec![
        Target::new(
            "a short statement without identity, to one without the library",
            worst(&mut targets.iter().map(|target| target.0)),
            1.02,
        ),
        Target::new(
            "a short statement with an identity, to one without the library",
            worst(&mut targets.iter().map(|target| target.1)),
            1.02,
        ),
    ]
}

fn measure(server: &Server, without: &Cluster, query: &str) -> [f64; 3] {
    let case = |mut client: Client| {
        let table = "CREATE TEMP TABLE entry AS SELECT n AS id, n AS value FROM generate_series(1, 10000) n;
            ALTER TABLE entry ADD PRIMARY KEY (id); ANALYZE entry";
        client.batch_execute(table).expect("a table");
        let statement = client.prepare(query).expect("a good statement");
        Case { clock: ProcessorClock::of(&mut client), client, statement }
    };
    let mut user = server.superuser();
    user.execute("SELECT auth.jwt_session_init($1)", &[&server.token(0)]).expect("a good token");
    let cases = [case(without.client()), case(server.superuser()), case(user)];
    let times = medians(ROUNDS, cases, |case| {
        let (client, statement) = (&mut case.client, &case.statement);
        case.clock.time(|| {
            for _ in 0..STATEMENTS {
                client.query_one(statement, &[]).expect("a row");
            }
        })
    });
    times.map(|time| time / f64::from(STATEMENTS))
}
