//! A backend that runs out of memory says so and lives on, and all other sessions with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::LazyLock;

use pg_test::{Cluster, pg_error};
use postgres::types::ToSql;
use serde_json::json;

use crate::server::*;

/// PostgreSQL makes several copies of a statement. The limits below are too low for some of so long a one.
const STATEMENT_BYTES: usize = 70 << 20;

/// What a backend may have beside what it has: from too little to read the statement, to enough to log all of it.
const HEADROOMS_MIB: [u64; 8] = [100, 120, 140, 160, 180, 200, 400, 700];

const OUT_OF_MEMORY: &str = "53200";

/// A server of its own: a backend that dies takes all other sessions with it.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| started(options().setting("shared_preload_libraries", "pg_jwks")));

/// Limits the address space of a process to what it has and so much more.
fn limit_memory(pid: i32, headroom_kib: u64) {
    let folder = format!("/proc/{pid}");
    let status = fs::read_to_string(format!("{folder}/status")).expect("a running process");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("VmSize in /proc");
    let size_kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("VmSize is a number");
    let limit = (size_kib << 10) + (headroom_kib << 10);
    let owner = fs::metadata(&folder).expect("a running process");
    // In a container, root may lack the privilege to do this to others' processes. Their owner needs none.
    let output = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--as={limit}:")])
        .uid(owner.uid())
        .gid(owner.gid())
        .output()
        .expect("prlimit runs");
    assert!(output.status.success(), "{output:?}");
}

/// The statement must fail with `sqlstate` if there is enough memory for it, and for want of memory otherwise.
fn assert_errors_stay_errors(statement: &str, sqlstate: &str) {
    let mut bystander = SERVER.connect("app", "app");
    let mut states = Vec::new();
    for headroom in HEADROOMS_MIB {
        let mut client = SERVER.connect("app", "app");
        init(&mut client, "alice");
        let mark = SERVER.log_mark();
        limit_memory(value(&mut client, "SELECT pg_backend_pid()"), headroom << 10);
        let error = client.batch_execute(statement).expect_err("a failing statement");
        let log = SERVER.log_since(mark);
        assert!(error.as_db_error().is_some(), "with {headroom} MiB more: {error:?} {:?}", deaths(&log));
        states.push(pg_error(&error).sqlstate);
        assert_eq!(value::<String>(&mut client, "SELECT auth.user_id()"), "alice");
        let log = SERVER.log_since(mark);
        assert_eq!(deaths(&log), [""; 0]);
        assert!(!log.contains("eyJ"), "with {headroom} MiB more, the log has part of a token");
    }
    assert_eq!(value::<i32>(&mut bystander, "SELECT 1"), 1);
    assert!(states.iter().all(|state| state == OUT_OF_MEMORY || state == sqlstate), "{states:?}");
    for expected in [OUT_OF_MEMORY, sqlstate] {
        assert!(states.iter().any(|state| state == expected), "no {expected} with any of the limits: {states:?}");
    }
}

/// What the log says of the end of a process. Other lines may be as long as the statement.
fn deaths(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("memory allocation") || line.contains("PANIC") || line.contains("terminated"))
        .collect()
}

fn filler() -> String {
    " filler".repeat(STATEMENT_BYTES / " filler".len())
}

#[test]
fn a_long_failing_statement_without_memory_is_an_error() {
    assert_errors_stay_errors(&format!("SELECT 1 / 0 /*{} */", filler()), "22012");
}

#[test]
fn a_long_failing_statement_with_a_token_without_memory_is_an_error() {
    let statement = format!("SELECT 1 / 0 /*{} {} */", filler(), token("alice"));
    assert_errors_stay_errors(&statement, "22012");
}

#[test]
fn a_long_message_with_a_token_without_memory_is_an_error() {
    let statement = format!("SELECT '{} {}'::int", filler(), token("alice"));
    assert_errors_stay_errors(&statement, "22P02");
}

#[test]
fn a_token_without_memory_is_refused_and_nobody_dies() {
    let long = token_with(json!({ "pad": "x".repeat(9_000), "list": (0..400).collect::<Vec<_>>() }));
    let server = started(options().setting("shared_preload_libraries", "pg_jwks"));
    let mut states = Vec::new();
    for headroom in (0..40).map(|step| step * 48) {
        let mut client = server.connect("app", "app");
        init(&mut client, "alice");
        let mark = server.log_mark();
        limit_memory(value(&mut client, "SELECT pg_backend_pid()"), headroom);
        for (query, token) in [
            ("SELECT auth.jwt_session_init($1)::text", &long),
            ("SELECT auth.jwt() ->> 'sub'", &long),
            ("SELECT string_agg(detail, ' ') FROM auth.jwt_explain($1)", &long),
            ("SELECT auth.jwt_session_init($1)::text", &long),
        ] {
            let parameters: &[&(dyn ToSql + Sync)] = if query.contains('$') { &[token] } else { &[] };
            match client.query_one(query, parameters) {
                Ok(_) => states.push("00000".to_owned()),
                Err(error) => {
                    let log = server.log_since(mark);
                    assert!(error.as_db_error().is_some(), "with {headroom} KiB more: {error:?} {:?}", deaths(&log));
                    states.push(pg_error(&error).sqlstate);
                }
            }
        }
        let log = server.log_since(mark);
        assert_eq!(deaths(&log), [""; 0], "with {headroom} KiB more");
        assert!(!log.contains("eyJ"), "with {headroom} KiB more, the log has part of a token");
    }
    assert!(states.iter().all(|state| state == OUT_OF_MEMORY || state == "00000"), "{states:?}");
    for expected in [OUT_OF_MEMORY, "00000"] {
        assert!(states.iter().any(|state| state == expected), "no {expected} with any of the limits");
    }
}
