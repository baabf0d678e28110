//! What each statement costs beside the same session before the library was loaded: what the hooks do.
//!
//! Two processes that do the same differ by several percent, as their memory lies, so a session is compared with itself. A
//! session also becomes faster or slower as it grows older: sessions that never load the library say by how much.

use std::iter::repeat_with;

use pg_test::Cluster;
use postgres::{Client, Statement};

use crate::measure::{Nanoseconds, ProcessorClock, median};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

const STATEMENTS: u32 = 1_000;
const ROUNDS: usize = 7;
const SESSIONS: usize = 11;

/// Short statements before the library is loaded, after, and with an identity.
pub fn run(server: &Server) -> Vec<Target> {
    let cluster = server.not_preloaded();
    let title = "A statement: the server's processor time, beside the same session before the library was loaded";
    let mut table = Table::new(title, &["", "without", "no identity", "to without", "identity", "to without"]);
    let mut targets = Vec::new();
    for (label, query) in
        [("SELECT 1", "SELECT 1"), ("a read by primary key", "SELECT value FROM entry WHERE id = 4711")]
    {
        let pairs: Vec<_> = (0..SESSIONS)
            .map(|_| [Life::Plain, Life::Loading(server)].map(|life| measure(&cluster, life, query)))
            .collect();
        let middle = |figure: fn(&[[Nanoseconds; 3]; 2]) -> f64| median(pairs.iter().map(figure).collect());
        let [plain, nobody, user] = [middle(|[_, own]| own[0]), middle(|[_, own]| own[1]), middle(|[_, own]| own[2])];
        let nobody_ratio = middle(|[plain, own]| own[1] / own[0] * plain[0] / plain[1]);
        let user_ratio = middle(|[plain, own]| own[2] / own[0] * plain[0] / plain[2]);
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

/// What becomes of a session.
#[derive(Clone, Copy)]
enum Life<'a> {
    /// It never loads the library.
    Plain,
    /// It loads the library, and then has an identity.
    Loading(&'a Server),
}

/// The three times of one session.
fn measure(cluster: &Cluster, life: Life, query: &str) -> [Nanoseconds; 3] {
    let mut client = cluster.client();
    let table = "CREATE TEMP TABLE entry AS SELECT n AS id, n AS value FROM generate_series(1, 10000) n;
        ALTER TABLE entry ADD PRIMARY KEY (id); ANALYZE entry";
    client.batch_execute(table).expect("a table");
    let statement = client.prepare(query).expect("a good statement");
    time(&mut client, &statement);
    let first = time(&mut client, &statement);
    if let Life::Loading(_) = life {
        client.batch_execute("LOAD 'pg_jwks'").expect("the library");
    }
    let second = time(&mut client, &statement);
    if let Life::Loading(server) = life {
        client.execute("SELECT auth.jwt_session_init($1)", &[&server.token(0)]).expect("a good token");
    }
    [first, second, time(&mut client, &statement)]
}

fn time(client: &mut Client, statement: &Statement) -> Nanoseconds {
    let clock = ProcessorClock::of(client);
    let mut round = || {
        let time = clock.time(|| {
            for _ in 0..STATEMENTS {
                client.query_one(statement, &[]).expect("a row");
            }
        });
        time.as_nanos() as Nanoseconds / f64::from(STATEMENTS)
    };
    round();
    median(repeat_with(round).take(ROUNDS).collect())
}
