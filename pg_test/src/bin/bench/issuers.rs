//! Many issuers: each customer has his own.

use pg_test::{Alg, SigningKey, claims, jwks};
use postgres::{Client, Statement};
use serde_json::json;

use crate::measure::{Nanoseconds, ProcessorClock, medians, time};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

const MANY: usize = 1000;
const TOKENS: usize = 1000;
const ROUNDS: usize = 11;
const SUB: &str = "alice";

/// Sets a thousand issuers, and verifies tokens of one among them.
pub fn run(server: &Server) -> Vec<Target> {
    let key = SigningKey::generate(Alg::EdDsa, "EdDSA");
    let mut sessions = [1, MANY].map(|count| session(server, &key, count));
    let [one, many] = medians(ROUNDS, [0, 1], |number| sessions[*number].verify());
    let setting = providers(&key, MANY);
    let mut client = server.superuser();
    client.batch_execute("LOAD 'pg_jwks'").expect("LOAD");
    // The next statement that asks for an identity reads them.
    let [set] = medians(ROUNDS, [()], |()| {
        client.batch_execute("RESET pg_jwks.providers").expect("RESET");
        time(|| {
            client.execute("SELECT set_config('pg_jwks.providers', $1, false)", &[&setting]).expect("SET");
            let refused = client.batch_execute("SELECT auth.jwt_session_init('')");
            refused.expect_err("no token");
        })
    });
    let title = format!("A first token, by the number of entries in pg_jwks.providers ({} kB)", setting.len() / 1000);
    let mut table = Table::new(title, &["", "1", &MANY.to_string(), "ratio"]);
    let each = |time: Nanoseconds| time / TOKENS as f64;
    table.line(["jwt_session_init".into(), duration(each(one)), duration(each(many)), ratio(many / one)]);
    table.line(["set and read".into(), String::new(), duration(set), String::new()]);
    table.print();
    vec![
        Target::new("a first token with 1,000 issuers, to one with one", many / one, 1.1),
        Target::new("setting 1,000 issuers, to 50 ms", set / 50e6, 1.0),
    ]
}

fn issuer(number: usize) -> String {
    format!("https://customer-{number}.example/")
}

fn providers(key: &SigningKey, count: usize) -> String {
    let keys = jwks(&[key]);
    let entry = |number| json!({ "issuer": issuer(number), "audience": "app", "jwks": keys });
    json!((0..count).map(entry).collect::<Vec<_>>()).to_string()
}

/// A session with so many issuers, and tokens of the last one.
struct Session {
    client: Client,
    clock: ProcessorClock,
    statement: Statement,
}

fn session(server: &Server, key: &SigningKey, count: usize) -> Session {
    let mut client = server.superuser();
    let tokens: Vec<String> = (0..TOKENS)
        .map(|number| {
            let mut claims = claims(&issuer(count - 1), SUB);
            claims["jti"] = json!(format!("{number:032}"));
            key.sign(&claims)
        })
        .collect();
    client.execute("SELECT set_config('pg_jwks.providers', $1, false)", &[&providers(key, count)]).expect("SET");
    client.batch_execute("CREATE TEMPORARY TABLE token (token text)").expect("a table");
    client.execute("INSERT INTO token SELECT unnest($1::text[])", &[&tokens]).expect("tokens");
    let statement = client.prepare("SELECT count(auth.jwt_session_init(token)) FROM token").expect("a good call");
    let clock = ProcessorClock::of(&mut client);
    Session { client, clock, statement }
}

impl Session {
    fn verify(&mut self) -> std::time::Duration {
        self.clock.time(|| {
            self.client.execute(&self.statement, &[]).expect("every token is good");
        })
    }
}
