//! What makes a text fit for a setting, if that is not simply that the core can read it. Errors are full sentences.

use std::fs;
use std::path::Path;

use pg_jwks_core::bounds::{MAX_DOCUMENT_BYTES, MAX_PROVIDERS};
use pg_jwks_core::certificates::certificates;
use pg_jwks_core::policy::provider::list;
use pg_jwks_core::url::is_proxy_url;
use pgrx::pg_sys;

use crate::pg::process::is_starting_parallel_worker;

/// Reads a text with `parse`; an empty one is `None`.
pub fn optional<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match text.trim().is_empty() {
        true => Ok(None),
        false => parse(text).map(Some),
    }
}

/// Checks `pg_jwks.issuer`.
pub fn issuers(text: &str) -> Result<(), String> {
    match list(text) {
        issuers if issuers.len() > MAX_PROVIDERS => Err(format!("There are more than {MAX_PROVIDERS} issuers.")),
        issuers if issuers.iter().any(|issuer| issuer.contains(['"', '\n'])) => {
            Err("An issuer has a quote or a line break in it.".into())
        }
        issuers if issuers.iter().any(|issuer| issuer.contains(['{', '}'])) => {
            Err("An issuer with a place, such as {tid}, goes into pg_jwks.providers, with what may be there.".into())
        }
        _ => Ok(()),
    }
}

/// Checks `pg_jwks.http_proxy`.
pub fn proxy(text: &str) -> Result<(), String> {
    match text.is_empty() || is_proxy_url(text) {
        true => Ok(()),
        false => {
            Err("It is not the http: or https: URL of a proxy: a host, and at most a port and credentials.".into())
        }
    }
}

/// Checks `pg_jwks.bypass_roles`.
pub fn roles(text: &str) -> Result<(), String> {
    const LONGEST: usize = pg_sys::NAMEDATALEN as usize - 1;
    match list(text).iter().find(|role| role.len() > LONGEST || role.contains(['"', '\n'])) {
        Some(role) => Err(format!("\"{role}\" is not the name of a role, as pg_roles has it.")),
        None => Ok(()),
    }
}

/// Checks that a path is absolute, if there is one.
pub fn absolute_path(path: &str) -> Result<(), String> {
    match path.is_empty() || Path::new(path).is_absolute() {
        true => Ok(()),
        false => Err("The path is not absolute.".into()),
    }
}

/// Checks that a file has certificates.
pub fn certificate_file(path: &str) -> Result<(), String> {
    // A parallel worker takes over what its leader checked, and must not fail because the file has changed since.
    if path.is_empty() || is_starting_parallel_worker() {
        return Ok(());
    }
    absolute_path(path)?;
    let path = Path::new(path);
    // Opening a FIFO would hang, so the type comes first.
    let metadata = fs::metadata(path).map_err(|error| format!("The file cannot be read: {error}."))?;
    if !metadata.is_file() || metadata.len() > MAX_DOCUMENT_BYTES as u64 {
        return Err(format!("It is not a regular file of at most {MAX_DOCUMENT_BYTES} bytes."));
    }
    let pem = fs::read(path).map_err(|error| format!("The file cannot be read: {error}."))?;
    match certificates(&pem).is_empty() {
        true => Err("The file has no certificate in PEM form.".into()),
        false => Ok(()),
    }
}
