//! A random walk through transactions, savepoints and identities, against a reference that shares nothing with
//! PostgreSQL's settings but what their documentation says.

mod choice;
mod random;
mod reference;
mod step;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use pg_test::{long, pg_error};
use postgres::Client;

use crate::server::*;
use choice::next_step;
use random::Random;
use reference::Reference;
use step::{ROLE, Step, Tokens};

/// With `PG_JWKS_LONG=1` a hundred times as many.
const STEPS: usize = 10_000;

/// Repeats a walk: its seed is in the message of a failure.
const SEED: &str = "PG_JWKS_MODEL_SEED";

/// As many of the last steps as are kept, and printed by a failure. A walk starts anew at each `DISCARD ALL`, so older ones rarely matter.
const PRINTED: usize = 60;

struct Walk {
    seed: u64,
    /// The last steps.
    steps: VecDeque<String>,
    /// How many there were of each kind.
    kinds: BTreeMap<String, usize>,
    count: usize,
}

impl Walk {
    fn push(&mut self, step: String) {
        let kind = step.split([' ', '(']).next().unwrap_or_default();
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        self.count += 1;
        self.steps.push_back(step);
        if self.steps.len() > PRINTED {
            self.steps.pop_front();
        }
    }

    fn fail(&self, problem: &str) -> ! {
        let mut text = format!("{problem} in step {}\nrepeat with {SEED}={}\n", self.count, self.seed);
        for (number, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, "{:6} {step}", self.count + 1 + number - self.steps.len());
        }
        panic!("{text}");
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&self, what: &str, real: T, expected: T) {
        if real != expected {
            self.fail(&format!("{what}: PostgreSQL says {real:?}, the reference {expected:?}"));
        }
    }
}

#[test]
fn the_identity_is_what_a_reference_model_says() {
    let seed = std::env::var(SEED).map_or_else(|_| Random::seed(), |seed| seed.parse().expect("a number"));
    println!("{SEED}={seed}");
    let mut random = Random::new(seed);
    let tokens = Tokens::new();
    let mut walk = Walk { seed, steps: VecDeque::new(), kinds: BTreeMap::new(), count: 0 };
    let mut reference = Reference::default();
    let (mut deep, mut refused_writes) = (0, 0);
    let mut client = server().connect("app", with_roles("model"));
    // Before the library is loaded, PostgreSQL takes any value of the setting; `forgery` has what becomes of it.
    run(&mut client, "SELECT auth.init()");
    for _ in 0..if long::is_asked_for() { 100 * STEPS } else { STEPS } {
        let step = next_step(&mut random, &reference);
        walk.push(format!("{step:?}"));
        if reference.identity().is_ok_and(|sub| sub.is_some()) && reference.savepoints().len() > 1 {
            deep += 1;
        }
        match step {
            Step::Read => read(&walk, &mut client, &reference),
            Step::ReadInWorkers => read_in_workers(&walk, &mut client, &mut reference),
            _ => {
                let statement = step.statement(&tokens, &mut random);
                let outcome = client.batch_execute(&statement).map_err(|error| pg_error(&error).sqlstate);
                let expected = reference.apply(&step).map_err(str::to_owned);
                refused_writes += usize::from(matches!(step, Step::Write) && expected.is_err());
                walk.compare("outcome", outcome, expected);
            }
        }
    }
    let of = |name: &str| walk.kinds.iter().filter(|(kind, _)| kind.starts_with(name)).map(|(_, count)| count).sum();
    let counts: [usize; 5] = ["Init", "Fail", "Read", "Write", "PoolReset"].map(of);
    assert!(
        counts.iter().zip([250, 250, 500, 250, 25]).all(|(count, least)| *count > least),
        "a dull walk: {counts:?}"
    );
    assert!(deep > 250 && refused_writes > 50, "a dull walk: {deep} deep, {refused_writes} refused writes");
}

/// A database in which each identity sets its role.
fn with_roles(name: &str) -> &str {
    let name = database(name);
    run(
        &mut server().client(),
        &format!(
            "CREATE ROLE {ROLE}; GRANT {ROLE} TO app;
             ALTER DATABASE {name} SET pg_jwks.set_role = on; ALTER DATABASE {name} SET pg_jwks.role_claim = 'roles';
             ALTER DATABASE {name} SET pg_jwks.read_only_claim = 'support'"
        ),
    );
    run(&mut server().connect("postgres", name), "CREATE TABLE scratch (); GRANT ALL ON scratch TO PUBLIC");
    name
}

fn read(walk: &Walk, client: &mut Client, reference: &Reference) {
    let answer = client
        .query_one(
            "SELECT auth.user_id(), auth.jwt() ->> 'sub', nullif(current_setting('pg_jwks.session'), '')::jsonb ->> 'sub',
                    current_user::text",
            &[],
        )
        .map(|row| {
            let role: &str = row.get(3);
            if role != "app" && reference.identity() == Ok(None) {
                walk.fail(&format!("{role} is left without identity"));
            }
            let answers: [Option<String>; 3] = [row.get(0), row.get(1), row.get(2)];
            answers
        })
        .map_err(|error| pg_error(&error).sqlstate);
    let expected = reference.identity().map(|sub| [(); 3].map(|()| sub.map(str::to_owned))).map_err(str::to_owned);
    walk.compare("the readers", answer, expected);
}

fn read_in_workers(walk: &Walk, client: &mut Client, reference: &mut Reference) {
    let outcome = client.batch_execute(PARALLEL).map_err(|error| pg_error(&error).sqlstate);
    let expected = reference.identity().map(|sub| if sub.is_some() { 10_000 } else { 0 });
    walk.compare("SET", outcome, expected.map(drop).map_err(str::to_owned));
    if let Ok(rows) = expected {
        walk.compare("the rows that workers see", rows_for_workers(client, "big"), rows);
    }
}
