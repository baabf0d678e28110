//! The same token again on one connection, as a pooler's checkouts send it.

use postgres::{Client, Statement};

use crate::charts;
use crate::measure::{median, medians, time};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

const CALLS: i32 = 500;
const ROUNDS: usize = 31;

/// Entries that mean other tokens, and how often they come and go.
const REVOCATIONS: u32 = 100_000;
const TURNS: usize = 5;
const ROUNDS_OF_A_TURN: usize = 7;

/// The two rivals, for the session, for the transaction, and many times in one statement.
const SESSION: [&str; 2] = ["SELECT set_config('app.token', $1, false)", "SELECT auth.jwt_session_init($1)"];
const TRANSACTION: [&str; 2] = ["SELECT set_config('app.token', $1, true)", "SELECT auth.jwt_session_init($1, true)"];
const IN_SERVER: [&str; 2] = [
    "SELECT count(set_config('app.token', $1, false)) FROM generate_series(1, $2)",
    "SELECT count(auth.jwt_session_init($1)) FROM generate_series(1, $2)",
];

/// Calls again and again with one token.
pub fn run(server: &Server) -> Vec<Target> {
    let token = server.token(0);
    let title = format!("A repeated token of {} bytes, each call", token.len());
    let mut table = Table::new(title, &["", "set_config", "jwt_session_init", "ratio"]);
    let mut bars = Vec::new();
    let mut line = |label: &str, [set_config, init]: [f64; 2]| {
        bars.push((format!("{label}: set_config()"), set_config));
        bars.push((format!("{label}: jwt_session_init()"), init));
        table.line([label.to_owned(), duration(set_config), duration(init), ratio(init / set_config)]);
        init / set_config
    };
    let mut local = server.over_unix_socket();
    let mut remote = server.superuser();
    let over_unix_socket = line("round trip, Unix socket", measure(&mut local, SESSION, &token, round_trips));
    line("round trip, TCP", measure(&mut remote, SESSION, &token, round_trips));
    line("BEGIN, call with is_local, COMMIT", measure(&mut local, TRANSACTION, &token, transactions));
    let in_server = line("inside the server, no round trip", measure(&mut local, IN_SERVER, &token, one_statement));
    table.print();
    let bars: Vec<_> = bars.iter().map(|(label, time)| (label.as_str(), *time)).collect();
    charts::draw("repeated-token", "A token that the session has seen before", &bars, duration);
    vec![
        Target::new(
            "a round trip of jwt_session_init with a repeated token, to one of set_config",
            over_unix_socket,
            1.1,
        ),
        Target::new("the same inside the server", in_server, 2.2),
    ]
}

/// The same beside a table of revocations that mean others.
pub fn with_revocations(server: &Server) -> Vec<Target> {
    let token = server.token(0);
    let mut client = server.over_unix_socket();
    let mut admin = server.superuser();
    let statement = client.prepare(SESSION[1]).expect("a good statement");
    let mut turn = || {
        let [time] = medians(ROUNDS_OF_A_TURN, [()], |()| time(|| round_trips(&mut client, &statement, &token)));
        time / f64::from(CALLS)
    };
    let fill = format!(
        "INSERT INTO auth.revocations (subject, issued_before)
         SELECT 'gone' || n, now() FROM generate_series(1, {REVOCATIONS}) n"
    );
    let [mut none, mut many] = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        none.push(turn());
        admin.batch_execute(&fill).expect("revocations");
        many.push(turn());
        admin.batch_execute("TRUNCATE auth.revocations").expect("no revocations");
    }
    let [none, many] = [none, many].map(median);
    let title = format!("A repeated token over a Unix socket, with {REVOCATIONS} revocations of others");
    let mut table = Table::new(title, &["", "none", "many", "ratio"]);
    table.line(["round trip".into(), duration(none), duration(many), ratio(many / none)]);
    table.print();
    vec![Target::new("a repeated token with 100,000 revocations, to one with none", many / none, 1.3)]
}

type Batch = fn(&mut Client, &Statement, &str);

/// The times of one call of each rival.
fn measure(client: &mut Client, rivals: [&str; 2], token: &str, batch: Batch) -> [f64; 2] {
    let statements = rivals.map(|query| client.prepare(query).expect("a good statement"));
    let times = medians(ROUNDS, statements, |statement| time(|| batch(client, statement, token)));
    times.map(|time| time / f64::from(CALLS))
}

fn round_trips(client: &mut Client, statement: &Statement, token: &str) {
    for _ in 0..CALLS {
        client.execute(statement, &[&token]).expect("a good token");
    }
}

fn transactions(client: &mut Client, statement: &Statement, token: &str) {
    for _ in 0..CALLS {
        let mut transaction = client.transaction().expect("BEGIN");
        transaction.execute(statement, &[&token]).expect("a good token");
        transaction.commit().expect("COMMIT");
    }
}

fn one_statement(client: &mut Client, statement: &Statement, token: &str) {
    client.execute(statement, &[&token, &CALLS]).expect("a good token");
}
