//! What the planner knows of a tenant: the literal, the helper called bare, and the helper in `(SELECT ...)`, on tables whose
//! tenants differ much in size, in a join of three such tables, and in a table of 200 partitions.

use postgres::Client;
use serde_json::Value;

use crate::charts;
use crate::measure::{ProcessorClock, medians};
use crate::report::{Table, Target, duration};
use crate::server::Server;

const ROWS: i32 = 1_000_000;
const JOINED_ROWS: i32 = 200_000;
const PARTITIONED_ROWS: i32 = 200_000;
const PARTITIONS: i32 = 200;
const ROUNDS: usize = 7;

/// Tenants, and which part of the rows each has: 80 %, 10 % and 0.01 %.
const TENANTS: [(&str, &str); 3] = [
    ("80 %", "80000000-0000-4000-8000-000000000000"),
    ("10 %", "10000000-0000-4000-8000-000000000000"),
    ("0.01 %", "00010000-0000-4000-8000-000000000000"),
];
const FORMS: [(&str, &str); 3] = [
    ("literal", ""),
    ("bare", "tenant_id = get_current_user_tenant_id()"),
    ("wrapped", "tenant_id = (SELECT get_current_user_tenant_id())"),
];
const QUERIES: [(&str, &str); 3] = [
    ("one table", "SELECT count(*) FROM skewed"),
    ("join of three", "SELECT count(*) FROM invoice JOIN line USING (id) JOIN payment USING (id)"),
    ("200 partitions", "SELECT count(*) FROM parted"),
];

/// Explains and times each query for each tenant in each form.
pub fn run(server: &Server) -> Vec<Target> {
    let mut client = server.superuser();
    prepare(&mut client);
    let clock = ProcessorClock::of(&mut client);
    let mut table = Table::new(
        format!(
            "Estimates under row-level security: {ROWS} rows; {JOINED_ROWS} in each joined table; the processor time"
        ),
        &["query", "tenant", "USING", "estimated", "actual", "scan", "time"],
    );
    let (mut targets, mut bars) = (Vec::new(), Vec::new());
    for (query_name, query) in QUERIES {
        for (size, tenant) in TENANTS {
            let times = medians(ROUNDS, FORMS, |(form, _)| {
                become_tenant(&mut client, tenant, form);
                clock.time(|| drop(client.query_one(query, &[]).expect("a count")))
            });
            for ((form, _), time) in FORMS.iter().zip(times) {
                become_tenant(&mut client, tenant, form);
                let [estimated, actual, scan] = first_scan(&mut client, query);
                if (query_name, size) == ("one table", "80 %") {
                    let [expected, rows] = [&estimated, &actual].map(|text| text.parse::<f64>().expect("a number"));
                    bars.push((*form, expected));
                    if *form == "bare" {
                        targets.push(Target::new(
                            "the estimate of the 80 % tenant, bare, to its rows, either way",
                            (expected / rows).max(rows / expected),
                            1.1,
                        ));
                    }
                }
                table.line([query_name.into(), size.into(), (*form).into(), estimated, actual, scan, duration(time)]);
            }
        }
    }
    table.print();
    charts::draw("estimates", "Rows that the planner expects of a tenant that has 800,000", &bars, |rows| {
        rows.to_string()
    });
    client.batch_execute("RESET ROLE").expect("RESET ROLE");
    targets
}

fn prepare(client: &mut Client) {
    let tenant = format!(
        "CASE WHEN i % 10 < 8 THEN '{}' WHEN i % 10 = 8 THEN '{}' WHEN i % 10000 = 9 THEN '{}' ELSE md5((i % 1000)::text)::uuid END",
        TENANTS[0].1, TENANTS[1].1, TENANTS[2].1
    );
    client
        .batch_execute(&format!(
            "CREATE TABLE skewed AS SELECT {tenant} AS tenant_id, i AS v FROM generate_series(1, {ROWS}) AS i;
             CREATE TABLE invoice AS SELECT {tenant} AS tenant_id, i AS id FROM generate_series(1, {JOINED_ROWS}) AS i;
             CREATE TABLE line AS TABLE invoice; CREATE TABLE payment AS TABLE invoice;
             CREATE TABLE parted (tenant_id uuid, v int) PARTITION BY HASH (tenant_id);
             SET pg_jwks.tenant_claim = 'tenant_id';"
        ))
        .expect("tables");
    for number in 0..PARTITIONS {
        client
            .batch_execute(&format!(
                "CREATE TABLE parted_{number} PARTITION OF parted FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
            ))
            .expect("a partition");
    }
    let tables = ["skewed", "invoice", "line", "payment", "parted"];
    client
        .batch_execute(&format!(
            "INSERT INTO parted SELECT {tenant}, i FROM generate_series(1, {PARTITIONED_ROWS}) AS i"
        ))
        .expect("rows");
    for table in tables {
        client
            .batch_execute(&format!(
                "CREATE INDEX ON {table} (tenant_id); ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
            ))
            .expect("an index");
        client.batch_execute(&format!("VACUUM (FREEZE, ANALYZE) {table}")).expect("VACUUM");
    }
    let literals = TENANTS.map(|(_, tenant)| (role(tenant, "literal"), format!("tenant_id = '{tenant}'")));
    let others = FORMS[1..].iter().map(|(form, condition)| (role("", form), (*condition).to_owned()));
    for (role, condition) in literals.into_iter().chain(others) {
        client.batch_execute(&format!("CREATE ROLE {role}")).expect("a role");
        for table in tables {
            client
                .batch_execute(&format!(
                    "GRANT SELECT ON {table} TO {role}; CREATE POLICY {role} ON {table} TO {role} USING ({condition})"
                ))
                .expect("a policy");
        }
    }
}

/// The role whose policies have this form; literals have one for each tenant.
fn role(tenant: &str, form: &str) -> String {
    match form {
        "literal" => format!("estimate_{}", &tenant[..8]),
        form => format!("estimate_{form}"),
    }
}

fn become_tenant(client: &mut Client, tenant: &str, form: &str) {
    client
        .batch_execute(&format!(
            "RESET ROLE; SELECT auth.assume_identity('{{\"sub\": \"bench\", \"tenant_id\": \"{tenant}\"}}'); SET ROLE {}",
            role(tenant, form)
        ))
        .expect("a tenant");
}

/// The estimated and the actual rows of the first scan in a query's plan, and what scan that is.
fn first_scan(client: &mut Client, query: &str) -> [String; 3] {
    let explained: Value =
        client.query_one(&format!("EXPLAIN (ANALYZE, TIMING off, FORMAT json) {query}"), &[]).expect("EXPLAIN").get(0);
    let mut node = &explained[0]["Plan"];
    while let Some(below) =
        node["Plans"].as_array().and_then(|plans| plans.iter().find(|plan| plan["Parent Relationship"] != "InitPlan"))
    {
        node = below;
        if node["Node Type"].as_str().is_some_and(|name| name == "Append" || name.ends_with("Heap Scan")) {
            break;
        }
    }
    let rows = |name: &str| node[name].as_f64().unwrap_or_default().round().to_string();
    [rows("Plan Rows"), rows("Actual Rows"), node["Node Type"].as_str().unwrap_or_default().to_owned()]
}
