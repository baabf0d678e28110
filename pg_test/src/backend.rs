//! A server process, and what it uses: for tests that look for leaks.

use std::fs;

use postgres::Client;

/// Resident memory of a process.
pub fn rss_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS in /proc");
    line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number")
}

/// The memory of a process that is its own: neither files nor what processes share.
pub fn anonymous_kib(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a running process");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("Anonymous in /proc");
    line.trim().trim_end_matches(" kB").parse().expect("Anonymous is a number")
}

/// Bytes held by all memory contexts of the backend that serves `client`.
pub fn memory_contexts(client: &mut Client) -> i64 {
    let query = "SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts";
    client.query_one(query, &[]).expect("pg_backend_memory_contexts").get(0)
}

/// The process that serves `client`.
pub fn pid(client: &mut Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).expect("pg_backend_pid").get(0)
}
