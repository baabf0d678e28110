//! Readers in the condition of a sequential scan, as a policy that calls them bare has them.

use postgres::Client;

use crate::charts;
use crate::measure::{Nanoseconds, ProcessorClock, medians};
use crate::policies;
use crate::report::{Table, Target, duration, ratio};
use crate::server::{SUB, Server};

const ROWS: i32 = 2_000_000;
/// Every so many rows belong to the user.
const OWNERS: i32 = 100;
const ROUNDS: usize = 31;
const SLOW_ROUNDS: usize = 5;

/// Makes a table and scans it, without row-level security and then with it.
pub fn run(server: &Server) -> Vec<Target> {
    let mut client = server.superuser();
    client
        .batch_execute(&format!(
            "CREATE TABLE note (owner text NOT NULL, u uuid NOT NULL, v int NOT NULL);
             INSERT INTO note
                 SELECT u::text, u, i FROM generate_series(1, {ROWS}) AS i,
                     LATERAL (SELECT CASE WHEN i % {OWNERS} = 0 THEN '{SUB}'::uuid
                                     ELSE md5((i % {OWNERS})::text)::uuid END AS u) AS owners;"
        ))
        .expect("a table");
    client.batch_execute("VACUUM (FREEZE, ANALYZE) note").expect("VACUUM");
    client.execute("SELECT auth.jwt_session_init($1)", &[&server.token(0)]).expect("a good token");
    let claims = server.claims(0).to_string();
    for (name, value) in [("request.jwt.claims", claims.as_str()), ("request.jwt.claim.sub", SUB)] {
        client.execute("SELECT set_config($1, $2, false)", &[&name, &value]).expect("set_config");
    }

    let literal = format!("owner = '{SUB}'");
    let uuid_literal = format!("u = '{SUB}'");
    let has_role = format!("auth.has_role('authenticated') AND {literal}");
    let has_scope = format!("auth.has_scope('read') AND {literal}");
    let quick = [
        literal.as_str(),
        "owner = auth.user_id()",
        "owner = auth.claim('sub')",
        "owner = auth.claim('app_metadata', 'plan')",
        has_role.as_str(),
        has_scope.as_str(),
        "owner = auth.jwt() ->> 'sub'",
        "owner = current_setting('request.jwt.claim.sub')",
        uuid_literal.as_str(),
        "u = auth.uid()",
    ];
    let slow = ["owner = current_setting('request.jwt.claims')::jsonb ->> 'sub'"];
    let times = scans(&mut client, quick, ROUNDS);
    let [text, user_id, claim, plan, role, scope, jwt, _, uuid, uid] = times;
    let [json] = scans(&mut client, slow, SLOW_ROUNDS);

    let title = format!(
        "Reading: the server's processor time of a sequential scan of {ROWS} rows; claims of {} bytes",
        claims.len()
    );
    let mut table = Table::new(title, &["WHERE", "scan", "a row", "beyond literal", "to literal"]);
    for (condition, time) in quick.iter().chain(&slow).zip(times.into_iter().chain([json])) {
        let literal = if condition.starts_with("u =") { uuid } else { text };
        let row = |time: f64| duration(time / f64::from(ROWS));
        table.line([(*condition).to_owned(), duration(time), row(time), row(time - literal), ratio(time / literal)]);
    }
    table.print();
    let mut bars: Vec<_> = quick[..8].iter().zip(&times).map(|(condition, time)| (*condition, time / text)).collect();
    bars.push((slow[0], json / text));
    charts::draw("reading", "A sequential scan, to one with a literal", &bars, ratio);
    policies::run(server);
    vec![
        Target::new("a scan with owner = auth.user_id(), to one with a literal", user_id / text, 1.10),
        Target::new("a scan with u = auth.uid(), to one with a literal", uid / uuid, 1.10),
        Target::new("a scan with owner = auth.claim('sub'), to one with a literal", claim / text, 1.15),
        Target::new("a scan with owner = auth.claim('app_metadata', 'plan'), to one with a literal", plan / text, 1.15),
        Target::new("a scan with auth.has_role('authenticated') beside a literal, to one without", role / text, 1.15),
        Target::new("a scan with auth.has_scope('read') beside a literal, to one without", scope / text, 1.15),
        Target::new("a scan with owner = auth.jwt() ->> 'sub', to one with a literal", jwt / text, 2.0),
        Target::new(
            "auth.jwt() ->> 'sub', to current_setting('request.jwt.claims')::jsonb ->> 'sub'; a row, beyond a literal",
            (jwt - text) / (json - text),
            0.25,
        ),
    ]
}

/// The time of a scan with each condition.
fn scans<const N: usize>(client: &mut Client, conditions: [&str; N], rounds: usize) -> [Nanoseconds; N] {
    let scans = conditions.map(|condition| {
        client.prepare(&format!("SELECT count(*) FROM note WHERE {condition}")).expect("a good condition")
    });
    let clock = ProcessorClock::of(client);
    medians(rounds, scans, |scan| {
        clock.time(|| {
            let count: i64 = client.query_one(scan, &[]).expect("a scan").get(0);
            assert_eq!(count, i64::from(ROWS / OWNERS), "rows of the user");
        })
    })
}
