//! Many sessions verify while keys rotate and settings are read again.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pg_test::app::App;
use pg_test::backend::anonymous_kib;
use pg_test::login::{accepted, init, token};
use pg_test::{Alg, Issuer, SigningKey, long};

use crate::server::{preloaded, started, worker_pid};

const COOLDOWN: Duration = Duration::from_secs(1);
const ROTATION: Duration = Duration::from_secs(1);
const SESSIONS: usize = 16;
/// What a refresh may take until all backends see it, on a busy machine.
const GRACE: Duration = Duration::from_secs(1);

/// What allocators may need for fragments. A hundred bytes lost with each token would be more in a minute.
const GROWTH_KIB: u64 = 512;

/// A token, and when the key that signed it was published or withdrawn.
struct Issued {
    token: String,
    published: Instant,
    withdrawn: Option<Instant>,
}

struct Rotation {
    current: VecDeque<(SigningKey, Instant)>,
    withdrawn: VecDeque<(SigningKey, Instant, Instant)>,
}

fn duration() -> Duration {
    Duration::from_secs(if long::is_asked_for() { 60 } else { 20 })
}

fn rotate(issuer: &Issuer, rotation: &Mutex<Rotation>, serial: usize) {
    let key = SigningKey::generate(Alg::Es256, &format!("k{serial}"));
    let mut rotation = rotation.lock().expect("the keys");
    rotation.current.push_back((key, Instant::now()));
    if rotation.current.len() > 4 {
        let (key, published) = rotation.current.pop_front().expect("four keys");
        rotation.withdrawn.push_back((key, published, Instant::now()));
    }
    if rotation.withdrawn.len() > 8 {
        rotation.withdrawn.pop_front();
    }
    issuer.publish(&rotation.current.iter().map(|(key, _)| key).collect::<Vec<_>>());
    // Published is published: not before the issuer serves it.
    rotation.current.back_mut().expect("the new key").1 = Instant::now();
}

fn issued(rotation: &Mutex<Rotation>, iss: &str, choice: usize) -> Issued {
    let rotation = rotation.lock().expect("the keys");
    let all = rotation.current.len() + rotation.withdrawn.len();
    match choice % all {
        chosen if chosen < rotation.current.len() => {
            let (key, published) = &rotation.current[chosen];
            Issued { token: token(key, iss), published: *published, withdrawn: None }
        }
        chosen => {
            let (key, published, withdrawn) = &rotation.withdrawn[chosen - rotation.current.len()];
            Issued { token: token(key, iss), published: *published, withdrawn: Some(*withdrawn) }
        }
    }
}

#[test]
fn no_wrong_answer_while_keys_rotate_and_settings_reload() {
    let issuer = Issuer::start();
    let rotation = Mutex::new(Rotation { current: VecDeque::new(), withdrawn: VecDeque::new() });
    rotate(&issuer, &rotation, 0);
    let cluster = started(
        preloaded()
            .setting("pg_jwks.issuer", issuer.url())
            .setting("pg_jwks.jwks_refresh_cooldown", "1s")
            .setting("pg_jwks.jwks_cache_ttl", "2s")
            .setting("pg_jwks.audit_log", "off"),
    );
    let app = App::new(&cluster, &[]);
    let (stop, accepts, rejects) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    // Keys live for 2 s, are fetched at 80 % of it, and a fetch takes a moment.
    let forgotten = Duration::from_secs(2) + GRACE;
    let known = COOLDOWN + GRACE;
    let worker = worker_pid(&cluster);
    // The worker, and the backends as they come.
    let processes = Mutex::new(vec![worker]);
    let (mut memory, end) = (Vec::<Vec<u64>>::new(), Instant::now() + duration());
    thread::scope(|scope| {
        for seed in 0..SESSIONS {
            let (app, issuer, rotation) = (&app, &issuer, &rotation);
            let (stop, accepts, rejects, processes) = (&stop, &accepts, &rejects, &processes);
            scope.spawn(move || {
                let mut session = app.connect();
                let pid = session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
                processes.lock().expect("the processes").push(pid);
                let mut choice = seed;
                while !stop.load(Ordering::Relaxed) {
                    choice = choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let issued = issued(rotation, issuer.url(), choice >> 33);
                    // Applications do something in between; and this leaves the machine to other tests.
                    thread::sleep(Duration::from_millis(2));
                    let asked = Instant::now();
                    let result = init(&mut session, &issued.token);
                    match (&result, issued.withdrawn) {
                        (Ok(()), Some(at)) => assert!(asked.duration_since(at) < forgotten, "a withdrawn key verifies"),
                        (Err(error), None) => {
                            // It may have been withdrawn while we asked.
                            let still = issued_still_current(rotation, issued.published);
                            let age = asked.duration_since(issued.published);
                            assert!(!still || age < known, "a good key is refused after {age:?}: {error:?}");
                        }
                        _ => {}
                    }
                    match result {
                        Ok(()) => accepts.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_eq!(error.message, "JWT rejected: key unknown", "{error:?}");
                            rejects.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let mut serial = 0;
        while Instant::now() < end {
            thread::sleep(ROTATION);
            serial += 1;
            rotate(&issuer, &rotation, serial);
            cluster.reload();
            memory.push(processes.lock().expect("the processes").iter().map(|pid| anonymous_kib(*pid)).collect());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (accepts, rejects) = (accepts.into_inner(), rejects.into_inner());
    let (early, late) = (&memory[memory.len() / 3], &memory[memory.len() - 1]);
    assert_eq!((early.len(), late.len()), (SESSIONS + 1, SESSIONS + 1), "all sessions had begun");
    println!("{accepts} accepted, {rejects} rejected in {:?}", duration());
    println!("KiB of the worker and the backends: {early:?}, then {late:?}");
    assert!(accepts > 1000 && rejects > 100, "{accepts} accepted, {rejects} rejected");
    assert_eq!(worker_pid(&cluster), worker, "the worker did not end");
    for (process, (early, late)) in early.iter().zip(late).enumerate() {
        assert!(*late < early + GROWTH_KIB, "memory of process {process} grows: {memory:?} KiB");
    }
    let log = cluster.log();
    assert!(!log.contains("terminated by signal") && !log.contains("PANIC"), "{log}");
    let rotation = rotation.into_inner().expect("the keys");
    accepted(&mut app.connect(), &token(&rotation.current[0].0, issuer.url()));
}

fn issued_still_current(rotation: &Mutex<Rotation>, published: Instant) -> bool {
    rotation.lock().expect("the keys").current.iter().any(|(_, at)| *at == published)
}
