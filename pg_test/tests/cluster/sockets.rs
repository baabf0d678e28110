//! Backends open no socket.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::Duration;

use pg_test::app::App;
use pg_test::login::{accepted, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Fault, Issuer, SigningKey};

use crate::server::{CLUSTER, worker_pid};

/// The inodes of the sockets that are connected to this port on 127.0.0.1.
fn sockets_to(port: u16) -> HashSet<String> {
    let remote = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2) == Some(&remote.as_str()) && row[3] == "01").map(|row| row[9].to_owned()).collect()
}

fn sockets_of(pid: i32) -> HashSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process");
    let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let names = targets.map(|target| target.to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

#[test]
fn only_the_worker_connects_to_the_issuer() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    issuer.set_fault(Fault::Hang);
    let app = App::of(&CLUSTER, &issuer, &[]);
    let port: u16 = issuer.url().rsplit_once(':').expect("a port").1.parse().expect("a number");
    let mut session = app.connect();
    let backend: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    let before = sockets_of(backend);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| accepted(&mut session, &token(&key, issuer.url())));
        eventually("a request", || (issuer.requests().discovery > 0).then_some(()));
        let connected = sockets_to(port);
        assert_eq!(connected.len(), 1, "{connected:?}");
        assert!(connected.is_subset(&sockets_of(worker_pid(&CLUSTER))), "the socket is the worker's");
        assert_eq!(sockets_of(backend), before, "the backend waits without one");
        thread::sleep(Duration::from_millis(100));
        issuer.set_fault(Fault::None);
        waiting.join().expect("accepted");
    });
    assert_eq!(sockets_of(backend), before);
    let threads = fs::read_dir(format!("/proc/{backend}/task")).expect("a running process").count();
    assert_eq!(threads, 1, "the backend starts no thread");
}
