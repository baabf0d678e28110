//! The first statement of a new connection.

use std::time::Duration;

use pg_test::{Cluster, bench_keys, jwks};

use crate::measure::{medians, time};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

const ROUNDS: usize = 21;

/// New backends: their times scatter more than the others.
const FIRSTS: usize = 151;

#[derive(Clone, Copy)]
struct Case<'a> {
    label: &'static str,
    cluster: &'a Cluster,
    role: &'static str,
    statement: &'a str,
}

/// Connects again and again.
pub fn run(server: &Server) -> Vec<Target> {
    let preloaded = server.cluster();
    let not_preloaded = &server.not_preloaded();
    let keys = jwks(&server.keys().iter().collect::<Vec<_>>());
    preloaded
        .client()
        .batch_execute(&format!("CREATE ROLE inline LOGIN; ALTER ROLE inline SET pg_jwks.jwks = '{keys}'"))
        .expect("a role whose keys are in a setting");

    let token = server.token(0);
    let set_config = &format!("SELECT set_config('app.token', '{token}', false)");
    let init = &format!("SELECT auth.jwt_session_init('{token}')");
    let case = |label, cluster, role, statement| Case { label, cluster, role, statement };
    let cases = [
        case("set_config", preloaded, "postgres", set_config),
        case("jwt_session_init, preloaded, keys in a setting", preloaded, "inline", init),
        case("jwt_session_init, preloaded, keys fetched", preloaded, "postgres", init),
        case("jwt_session_init, not preloaded, keys fetched", not_preloaded, "postgres", init),
    ];
    let times = medians(ROUNDS, cases, |case| {
        let mut client = case.cluster.connect(case.role, "postgres");
        time(|| client.batch_execute(case.statement).expect("a good token"))
    });
    let mut table = Table::new("The first statement of a new connection", &["", "time", "to set_config"]);
    for (case, time) in cases.iter().zip(times) {
        table.line([case.label.to_owned(), duration(time), ratio(time / times[0])]);
    }
    table.print();
    first_verification(server, not_preloaded)
}

/// What a new backend pays for its first verification, once its catalogue caches are filled.
fn first_verification(server: &Server, not_preloaded: &Cluster) -> Vec<Target> {
    let mut number = 1;
    let times = bench_keys::first_verification(FIRSTS, server.cluster(), not_preloaded, || {
        number += 1;
        server.token(number)
    });
    let nanoseconds = |time: Duration| time.as_nanos() as f64;
    let mut table = Table::new("The first verification in a new backend", &["", "time", "to a warm one"]);
    for (label, time) in [
        ("a further token", times.warm),
        ("the first, preloaded", times.preloaded),
        ("the first, not preloaded", times.not_preloaded),
    ] {
        table.line([label.into(), duration(nanoseconds(time)), ratio(nanoseconds(time) / nanoseconds(times.warm))]);
    }
    table.print();
    vec![Target::new(
        "first verification of a preloaded backend beyond a warm one, to 120 µs",
        nanoseconds(times.cold_start()) / 120_000.0,
        1.0,
    )]
}
