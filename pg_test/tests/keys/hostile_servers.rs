//! Servers that attack: no memory is filled, no login waits for ever, no answer is believed.

use std::io::Write;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::backend::pid;
use pg_test::login::{init, token, unavailable};
use pg_test::{Alg, SigningKey};

use crate::odd_servers::{Answer, OddServer};

fn head(out: &mut dyn Write, headers: &str) -> bool {
    write!(out, "HTTP/1.1 200 OK\r\n{headers}").and_then(|()| out.flush()).is_ok()
}

fn endless_body(out: &mut dyn Write, _: u16) {
    head(out, "Connection: close\r\n\r\n");
    while out.write_all(&[b' '; 65_536]).is_ok() {}
}

fn endless_chunks(out: &mut dyn Write, _: u16) {
    head(out, "Transfer-Encoding: chunked\r\n\r\n");
    while out.write_all(b"5\r\n     \r\n").is_ok() {}
}

fn endless_headers(out: &mut dyn Write, _: u16) {
    head(out, "");
    while out.write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
}

fn endless_header(out: &mut dyn Write, _: u16) {
    head(out, "X-Filler: ");
    while out.write_all(&[b'a'; 65_536]).is_ok() {}
}

fn endless_continue(out: &mut dyn Write, _: u16) {
    while out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
}

fn huge_promise(out: &mut dyn Write, _: u16) {
    head(out, "Content-Length: 99999999999\r\n\r\n{");
}

fn no_http(out: &mut dyn Write, _: u16) {
    let _ = out.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
}

fn lying_length(out: &mut dyn Write, _: u16) {
    head(out, "Content-Length: -1\r\n\r\n{\"keys\":[]}");
}

fn deep_json(out: &mut dyn Write, _: u16) {
    head(out, "Connection: close\r\n\r\n");
    let _ = out.write_all("[".repeat(200_000).as_bytes());
}

/// The most memory that a process has ever had.
fn peak_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM in /proc");
    line.trim().trim_end_matches(" kB").parse().expect("VmHWM is a number")
}

#[test]
fn no_server_fills_the_memory_or_keeps_a_login_waiting() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let good = token(&key, "me");
    let mut grown = 0;
    for (name, answer) in [
        ("endless body", endless_body as Answer),
        ("endless chunks", endless_chunks),
        ("endless headers", endless_headers),
        ("endless header", endless_header),
        ("endless continue", endless_continue),
        ("huge promise", huge_promise),
        ("no HTTP", no_http),
        ("lying length", lying_length),
        ("deep JSON", deep_json),
    ] {
        let server = OddServer::plain(answer);
        let url = format!("http://127.0.0.1:{}/jwks.json", server.port());
        let app = App::new(&NOT_PRELOADED, &[("issuer", "me"), ("jwks_uri", &url), ("fetch_timeout", "1s")]);
        let mut client = app.connect();
        let pid = pid(&mut client);
        init(&mut client, "").expect_err("loads the library");
        let before = peak_kib(pid);
        let start = Instant::now();
        unavailable(&mut client, &good, "");
        assert!(start.elapsed() < Duration::from_millis(2000), "{name}: {:?}", start.elapsed());
        grown = grown.max(peak_kib(pid).saturating_sub(before));
    }
    assert!(grown < 16 * 1024, "a backend grew by {grown} KiB");
}
