//! Many connections at once.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::app::App;
use pg_test::login::{accepted, init, sees, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Fault, Issuer, Requests, SigningKey};

use crate::server::{install, preloaded, started};

#[test]
fn a_storm_of_new_connections_causes_one_fetch() {
    const CONNECTIONS: usize = 200;
    let cluster = started(preloaded().setting("max_connections", "300"));
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Rs256, "k"));
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Delay(Duration::from_millis(500)));
    let app = App::of(&cluster, &issuer, &[]);
    let barrier = Barrier::new(CONNECTIONS);
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let token = token(&key, issuer.url());
                    barrier.wait();
                    let begun = Instant::now();
                    accepted(&mut app.connect(), &token);
                    begun.elapsed()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("accepted")).collect()
    });
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
    times.sort();
    println!(
        "{CONNECTIONS} new connections, issuer answering after 2 x 500 ms: median {:?}, p99 {:?}",
        times[CONNECTIONS / 2],
        times[CONNECTIONS * 99 / 100]
    );
}

#[test]
fn the_first_login_after_a_start_waits_for_nobody() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let cluster = preloaded().setting("pg_jwks.issuer", issuer.url()).start();
    eventually("the fetch at the start", || (issuer.requests() == Requests { discovery: 1, jwks: 1 }).then_some(()));
    install(&cluster, "postgres");
    cluster.client().batch_execute("CREATE ROLE app LOGIN").expect("CREATE ROLE");
    // What comes now would not be answered.
    issuer.set_fault(Fault::Hang);
    let mut app = cluster.connect("app", "postgres");
    init(&mut app, &token(&key, issuer.url())).expect("accepted");
    assert_eq!(sees(&mut app), ["alice"]);
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
}
