//! The first statement of a new connection.

use pg_test::{Cluster, jwks};

use crate::measure::{medians, time};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

const ROUNDS: usize = 21;

#[derive(Clone, Copy)]
struct Case<'a> {
    label: &'static str,
    cluster: &'a Cluster,
    role: &'static str,
    statement: &'a str,
}

/// Connects again and again. Nothing is a target here.
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
    Vec::new()
}
