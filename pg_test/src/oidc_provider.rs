//! A certified OpenID provider, npm's oidc-provider, on 127.0.0.1.
//!
//! It has two people, `alice` (role `reader`) and `bob` (role `writer`), the
//! public clients `psql` for the device flow and `cli` for all flows of a person, and the client `service` (role
//! `service`) with credentials of its own. Access tokens are JWTs by RFC 9068 for
//! the audience [`AUDIENCE`].

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::clients;
use crate::long;
use crate::tls::{Authority, Validity};

/// The `aud` of its access tokens.
pub const AUDIENCE: &str = "https://db.test";

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What a person decides about a device's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Signs in and consents.
    Approve,
    /// Aborts.
    Deny,
}

/// What the provider issued.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// A JWT with `typ: at+jwt`.
    pub access: String,
    /// A JWT whose audience is the client; only where `openid` was in the scope.
    pub id: Option<String>,
}

/// A running provider; it stops when dropped, or when this process ends.
pub struct OidcProvider {
    child: Child,
    url: String,
    ca_file: Option<PathBuf>,
    folder: TempDir,
}

impl OidcProvider {
    /// A provider at `http://127.0.0.1:<port>`.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// A provider at `https://127.0.0.1:<port>`, whose certificate is the authority's.
    pub fn start_tls(authority: &Authority) -> Self {
        Self::launch(Some(authority))
    }

    fn launch(authority: Option<&Authority>) -> Self {
        let folder = clients::node_folder(&[
            ("provider.mjs", include_str!("../oidc_provider/provider.mjs")),
            ("browser.mjs", include_str!("../oidc_provider/browser.mjs")),
            ("chromium.mjs", include_str!("../oidc_provider/chromium.mjs")),
            ("tokens.mjs", include_str!("../oidc_provider/tokens.mjs")),
        ]);
        let mut arguments = Vec::new();
        let mut ca_file = None;
        if let Some(authority) = authority {
            let write = |name: &str, pem: &str| {
                let path = folder.path().join(name);
                fs::write(&path, pem).expect("a PEM file");
                path
            };
            let certificate = authority.issue("127.0.0.1", Validity::Valid);
            ca_file = Some(write("ca.pem", &authority.pem()));
            arguments = vec![write("certificate.pem", certificate.pem()), write("key.pem", &certificate.key_pem())];
        }
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut child = Command::new("node")
            .arg(folder.path().join("provider.mjs"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("node starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, first_line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // Nobody takes the line any more where it came too late.
            let _ = output.read_line(&mut line).map(|_| sender.send(line));
            // The provider must not wait for somebody to read what it says later.
            output.read_to_end(&mut Vec::new())
        });
        let line = first_line.recv_timeout(START_TIMEOUT).unwrap_or_default();
        let mut provider = Self { child, url: String::new(), ca_file, folder };
        let Some(url) = line.strip_prefix("issuer ") else {
            panic!("the provider does not start: {line}{}", provider.log());
        };
        url.trim_end().clone_into(&mut provider.url);
        provider
    }

    /// The issuer's identifier, which tokens carry as `iss`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a client must trust where this speaks `https`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// A token of the client `service`, by client credentials.
    pub fn service_token(&self, scope: &str) -> String {
        self.tokens(&["service", scope]).access
    }

    /// Tokens of a person, by the device flow.
    pub fn device_tokens(&self, user: &str, scope: &str) -> Tokens {
        self.tokens(&["device", scope, user])
    }

    /// A program that does with the page of a login, whose address is its argument, what a person does in a browser. It is
    /// what `BROWSER` names; `decision` approves or denies. With `PG_JWKS_LONG=1` it is Chromium.
    pub fn browser(&self, user: &str, decision: Decision) -> PathBuf {
        let word = match decision {
            Decision::Approve => "sign-in",
            Decision::Deny => "abort",
        };
        let path = self.folder.path().join(format!("{user}-{word}"));
        let script = match long::is_asked_for() {
            true => "chromium.mjs",
            false => "browser.mjs",
        };
        let script = self.folder.path().join(script);
        let text = format!("#!/bin/sh\nexec node '{}' \"$1\" '' {user} {word}\n", script.display());
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("permissions of the script");
        path
    }

    /// Decides as `user`, in a browser, about the code that a device shows.
    pub fn decide(&self, verification_uri: &str, user_code: &str, user: &str, decision: Decision) {
        let (word, last_page) = match decision {
            Decision::Approve => ("approve", "Sign-in Success"),
            Decision::Deny => ("deny", "The Sign-in request was interrupted"),
        };
        let heading = self.run("browser.mjs", &[verification_uri, user_code, user, word]);
        assert_eq!(heading.trim(), last_page, "{}", self.log());
    }

    fn tokens(&self, arguments: &[&str]) -> Tokens {
        let mut all = vec![self.url()];
        all.extend(arguments);
        let answer: Value = serde_json::from_str(&self.run("tokens.mjs", &all)).expect("JSON");
        let token = |name: &str| answer[name].as_str().map(str::to_owned);
        Tokens { access: token("access_token").expect("an access token"), id: token("id_token") }
    }

    fn run(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("node");
        command.arg(self.folder.path().join(script)).args(arguments);
        if let Some(ca_file) = &self.ca_file {
            command.env("NODE_EXTRA_CA_CERTS", ca_file);
        }
        let output = command.output().expect("node starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}\n{}", self.log());
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
