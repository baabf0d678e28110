//! Tells the tests which PostgreSQL they are for, so that those that do not apply to it are reported as ignored.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The major versions that brought something without which a test has no object.
const TURNING_POINTS: [u32; 2] = [15, 18];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PG_CONFIG");
    for version in TURNING_POINTS {
        println!("cargo::rustc-check-cfg=cfg(before_pg{version})");
    }
    println!(
        "cargo::rustc-check-cfg=cfg(without_citext, without_pgaudit, without_cron, without_pgtap, without_pam, without_mount_namespaces)"
    );
    let pg_config = env::var_os("PG_CONFIG").unwrap_or_else(|| {
        println!("cargo::rerun-if-env-changed=PATH");
        "pg_config".into()
    });
    // Without a server, linters compile the tests all the same; then none is ignored, and each fails when it is run.
    let Some(major_version) = value(&pg_config, "--version").and_then(|version| major_version(&version)) else {
        return;
    };
    println!("cargo::rustc-env=PG_TEST_MAJOR_VERSION={major_version}");
    for version in TURNING_POINTS.into_iter().filter(|version| major_version < *version) {
        println!("cargo::rustc-cfg=before_pg{version}");
    }
    let extensions = value(&pg_config, "--sharedir").map(|folder| Path::new(folder.trim()).join("extension"));
    for (extension, cfg) in [("citext", "citext"), ("pgaudit", "pgaudit"), ("pg_cron", "cron"), ("pgtap", "pgtap")] {
        let control = extensions.as_ref().map(|folder| folder.join(format!("{extension}.control")));
        if let Some(folder) = &extensions {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        if !control.is_some_and(|control| control.exists()) {
            println!("cargo::rustc-cfg=without_{cfg}");
        }
    }
    let has_pam = value(&pg_config, "--configure").is_some_and(|flags| flags.contains("--with-pam"));
    let has_mount_namespaces = has_mount_namespaces();
    if !has_mount_namespaces {
        println!("cargo::rustc-cfg=without_mount_namespaces");
    }
    if !has_pam || !has_mount_namespaces {
        println!("cargo::rustc-cfg=without_pam");
    }
}

fn value(pg_config: &OsString, option: &str) -> Option<String> {
    let output = Command::new(pg_config).arg(option).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Whether a server can have parts of /etc of its own here: as root, and not in every container.
fn has_mount_namespaces() -> bool {
    let test = "mount --bind /etc /etc && [ \"$(id -u)\" = 0 ]";
    Command::new("unshare").args(["--mount", "sh", "-c", test]).status().is_ok_and(|status| status.success())
}

/// Of "PostgreSQL 15.16 (Debian 15.16-0+deb12u1)" or "PostgreSQL 18beta1".
fn major_version(version: &str) -> Option<u32> {
    let number = version.strip_prefix("PostgreSQL ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
