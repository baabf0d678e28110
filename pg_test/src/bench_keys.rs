//! What the first verification of a new backend costs, by where the keys are.

use std::time::{Duration, Instant};

use postgres::Client;

use crate::Cluster;

/// Medians over new backends.
#[derive(Clone, Copy, Debug)]
pub struct FirstVerification {
    /// A further token in a backend that has verified one.
    pub warm: Duration,
    /// The first token in a new backend, whose keys are in shared memory.
    pub preloaded: Duration,
    /// The first token in a new backend that fetches the keys for itself.
    pub not_preloaded: Duration,
}

impl FirstVerification {
    /// What a new backend pays where the library is preloaded.
    pub fn cold_start(&self) -> Duration {
        self.preloaded.saturating_sub(self.warm)
    }
}

/// Measures on two servers that trust the same issuer. Each call of `token` gives another good token.
pub fn first_verification(
    rounds: usize,
    preloaded: &Cluster,
    not_preloaded: &Cluster,
    mut token: impl FnMut() -> String,
) -> FirstVerification {
    let (mut warm, mut cold, mut fetched) = (Vec::new(), Vec::new(), Vec::new());
    // Once to have the keys in shared memory.
    verification(&mut new_backend(preloaded), &token());
    for _ in 0..rounds {
        let mut client = new_backend(preloaded);
        cold.push(verification(&mut client, &token()));
        warm.push(verification(&mut client, &token()));
        fetched.push(verification(&mut new_backend(not_preloaded), &token()));
    }
    FirstVerification { warm: median(warm), preloaded: median(cold), not_preloaded: median(fetched) }
}

/// A new backend that has answered statements of the same kind, and whose catalogue caches are filled: what the first
/// statements cost in any case is not what is measured. EXPLAIN plans the call and does not make it.
fn new_backend(cluster: &Cluster) -> Client {
    let mut client = cluster.client();
    let statements = "SELECT auth.init(); EXPLAIN SELECT auth.jwt_session_init('')";
    client.batch_execute(statements).expect("statements that verify nothing");
    let alike = format!("SELECT set_config('app.token', '{}', false)", "x".repeat(800));
    for _ in 0..3 {
        client.batch_execute(&alike).expect("a statement that verifies nothing");
    }
    client
}

fn verification(client: &mut Client, token: &str) -> Duration {
    let statement = format!("SELECT auth.jwt_session_init('{token}')");
    let begun = Instant::now();
    client.batch_execute(&statement).expect("a good token");
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
