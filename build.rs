//! Compiles the C side of logins against the headers of the server.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/login/server.c");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    let pg_config = env::var_os("PGRX_PG_CONFIG_PATH").expect("PGRX_PG_CONFIG_PATH is not set: use make build");
    let output = Command::new(&pg_config).arg("--includedir-server").output().expect("pg_config runs");
    assert!(output.status.success(), "pg_config --includedir-server failed");
    let headers = String::from_utf8(output.stdout).expect("the path of the server's headers is UTF-8");
    cc::Build::new()
        .file("src/login/server.c")
        .define("_GNU_SOURCE", None)
        // Warnings about the server's headers are not ours to mend.
        .flag(format!("-isystem{}", headers.trim()))
        // PostgreSQL is compiled so, and its headers rely on it.
        .flags(["-fno-strict-aliasing", "-fwrapv"])
        // Callbacks do not use all that they are handed.
        .flag("-Wno-unused-parameter")
        .compile("pg_jwks_login");
}
