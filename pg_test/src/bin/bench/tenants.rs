//! A table of tenants' rows under row-level security: the helper called bare, as people write policies, beside the
//! tenant's literal and the SQL function that is copied around.

use pg_test::Cluster;
use postgres::{Client, Statement};

use crate::charts;
use crate::measure::{Nanoseconds, ProcessorClock, medians};
use crate::report::{Table, Target, duration, ratio};
use crate::server::{SUB, Server};

const ROWS: i32 = 400_000;
/// Every so many rows belong to the tenant.
const TENANTS: i32 = 100;
const USERS: i32 = 10_000;
/// The copied-around function reads all users for each row, so that it gets few rows.
const FEW_ROWS: i32 = 100;
const ROUNDS: usize = 31;
const SLOW_ROUNDS: usize = 3;
/// Scans of few rows in a round: one alone would pay for what the others have left of the processor's caches.
const SHORT_SCANS: u32 = 200;
const NUMBER: i32 = 42;
const TENANT: &str = "7ed00000-0000-4000-8000-00000000000a";

/// Tenants with numbers, cast for each row or once.
fn integers(server: &Server) {
    let mut claims = server.claims(0);
    claims["tenant"] = NUMBER.into();
    let conditions = [
        format!("tenant_id = {NUMBER}"),
        "tenant_id = auth.tenant_id()::int".into(),
        "tenant_id = (SELECT auth.tenant_id()::int)".into(),
    ];
    let mut client = server.superuser();
    client
        .batch_execute(&format!(
            "CREATE TABLE numbered AS SELECT i % {TENANTS} AS tenant_id, i AS v FROM generate_series(1, {ROWS}) i;
             SET pg_jwks.tenant_claim = 'tenant'; SELECT auth.jwt_session_init('{}')",
            server.keys()[0].sign(&claims)
        ))
        .expect("a table");
    client.batch_execute("VACUUM (FREEZE, ANALYZE) numbered").expect("VACUUM");
    let scans = conditions
        .each_ref()
        .map(|condition| client.prepare(&format!("SELECT count(*) FROM numbered WHERE {condition}")).expect("a scan"));
    let clock = ProcessorClock::of(&mut client);
    let times = medians(ROUNDS, scans, |scan| clock.time(|| drop(client.query_one(scan, &[]).expect("a scan"))));
    let mut table = Table::new("Tenants with numbers", &["WHERE", "rows", "scan", "to literal"]);
    for (condition, time) in conditions.into_iter().zip(times) {
        table.line([condition, ROWS.to_string(), duration(time), ratio(time / times[0])]);
    }
    table.print();
}

/// A scan, and the role whose policy it is under.
struct Scan {
    role: String,
    statement: Statement,
}

/// Makes users and rows, and scans the rows as the user of [`SUB`].
pub fn run(server: &Server) -> Vec<Target> {
    let cluster = server.cluster();
    let mut owner = server.superuser();
    owner
        .batch_execute(&format!(
            "CREATE TABLE users (id uuid PRIMARY KEY, tenant_id uuid NOT NULL);
             INSERT INTO users SELECT md5(i::text)::uuid, md5((i % {TENANTS})::text)::uuid FROM generate_series(1, {USERS}) i;
             INSERT INTO users VALUES ('{SUB}', '{TENANT}');
             CREATE TABLE document (tenant_id uuid NOT NULL, v int NOT NULL);
             INSERT INTO document SELECT CASE WHEN i % {TENANTS} = 0 THEN '{TENANT}' ELSE md5((i % {TENANTS})::text)::uuid END, i
                 FROM generate_series(1, {ROWS}) i;
             CREATE TABLE few AS SELECT * FROM document WHERE v <= {FEW_ROWS};
             CREATE FUNCTION copied() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER AS
                 'SELECT tenant_id FROM public.users WHERE id::text = auth.user_id()';
             ALTER TABLE document ENABLE ROW LEVEL SECURITY;
             ALTER TABLE few ENABLE ROW LEVEL SECURITY;"
        ))
        .expect("tables");
    owner.batch_execute("VACUUM (FREEZE, ANALYZE) users, document, few").expect("VACUUM");

    let literal = format!("tenant_id = '{TENANT}'");
    let quick = [
        literal.as_str(),
        "tenant_id = get_current_user_tenant_id()",
        "tenant_id = (SELECT get_current_user_tenant_id())",
        "tenant_id::text = auth.tenant_id()",
    ];
    let slow = ["tenant_id = copied()"];
    let scans = scans(server, quick.map(|condition| ("document", condition)), ROWS, ROUNDS, 1);
    let few = self::scans(server, quick.map(|condition| ("few", condition)), FEW_ROWS, ROUNDS, SHORT_SCANS);
    let copied = self::scans(server, slow.map(|condition| ("few", condition)), FEW_ROWS, SLOW_ROUNDS, 1);

    let title = format!("Tenants under row-level security: the server's processor time, {USERS} users");
    let mut table = Table::new(title, &["USING", "rows", "scan", "a row", "to literal"]);
    let quick_lines = quick.iter().zip(scans).map(|(condition, time)| (condition, ROWS, time, scans[0]));
    let few_lines = quick.iter().zip(few).map(|(condition, time)| (condition, FEW_ROWS, time, few[0]));
    let slow_lines = slow.iter().zip(copied).map(|(condition, time)| (condition, FEW_ROWS, time, few[0]));
    for (condition, rows, time, literal) in quick_lines.chain(few_lines).chain(slow_lines) {
        let row = time / f64::from(rows);
        table.line([(*condition).into(), rows.to_string(), duration(time), duration(row), ratio(time / literal)]);
    }
    table.print();
    let bars: Vec<_> = quick.iter().zip(few).map(|(condition, time)| (*condition, time / few[0])).collect();
    charts::draw("tenants", "Policies on 100 rows, to one with a literal", &bars, ratio);

    integers(server);
    owner.batch_execute("CREATE INDEX ON document (tenant_id); ANALYZE document").expect("an index");
    let plans = [0, 1].map(|number| plan(cluster, server, &format!("document_1_{number}")));
    println!("\nThe plan with an index, as for the literal:\n{}", plans[1]);
    let same = plans[0].replace(&format!("'{TENANT}'::uuid"), "get_current_user_tenant_id()") == plans[1];
    vec![
        Target::new(
            "a scan with tenant_id = get_current_user_tenant_id(), to one with a literal",
            scans[1] / scans[0],
            1.15,
        ),
        Target::new("the same with few rows", few[1] / few[0], 1.3),
        Target::new("plans with an index that differ from the literal's", f64::from(u8::from(!same)), 0.0),
    ]
}

/// The time of a scan under each policy, each for a role of its own. One process makes all scans: two can be as fast as
/// the processors that they happen to be on.
fn scans<const N: usize>(
    server: &Server,
    policies: [(&str, &str); N],
    rows: i32,
    rounds: usize,
    scans_of_a_round: u32,
) -> [Nanoseconds; N] {
    let mut client = server.superuser();
    client.execute("SELECT auth.jwt_session_init($1)", &[&server.token(0)]).expect("a good token");
    let mut number = 0;
    let scans = policies.map(|(table, condition)| {
        let role = format!("{table}_{scans_of_a_round}_{number}");
        number += 1;
        client
            .batch_execute(&format!(
                "RESET ROLE; CREATE ROLE {role} LOGIN; GRANT SELECT ON {table} TO {role};
                 CREATE POLICY {role} ON {table} TO {role} USING ({condition}); SET ROLE {role}"
            ))
            .expect("a policy");
        let statement = client.prepare(&format!("SELECT count(*) FROM {table}")).expect("a scan");
        Scan { role, statement }
    });
    let clock = ProcessorClock::of(&mut client);
    medians(rounds, scans, |scan| {
        client.batch_execute(&format!("SET ROLE {}", scan.role)).expect("SET ROLE");
        let time = clock.time(|| {
            for _ in 0..scans_of_a_round {
                let count: i64 = client.query_one(&scan.statement, &[]).expect("a scan").get(0);
                assert_eq!(count, i64::from(rows / TENANTS), "rows of the tenant");
            }
        });
        time / scans_of_a_round
    })
}

fn logged_in(cluster: &Cluster, server: &Server, role: &str) -> Client {
    let mut client = cluster.connect(role, "postgres");
    client.execute("SELECT auth.jwt_session_init($1)", &[&server.token(0)]).expect("a good token");
    client
}

/// How PostgreSQL would read the rows of the tenant, under the policy of this role.
fn plan(cluster: &Cluster, server: &Server, role: &str) -> String {
    let lines =
        logged_in(cluster, server, role).query("EXPLAIN (COSTS OFF) SELECT v FROM document", &[]).expect("EXPLAIN");
    lines.iter().map(|line| format!("  {}\n", line.get::<_, &str>(0))).collect()
}
