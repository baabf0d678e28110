//! Identity providers that run here, each with one person, `alice`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::clients;

/// How long a provider may take to start, or to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A provider; it ends when dropped, or with this process.
pub struct RealProvider {
    child: Child,
    talk: Mutex<(ChildStdin, Receiver<String>)>,
    url: String,
    folder: TempDir,
}

impl RealProvider {
    /// npm's better-auth with its jwt plugin, on which Neon Auth is built: EdDSA, keys at `/api/auth/jwks`, no discovery,
    /// the active organisation in claim `o`. The user is an identifier, and `name` is `alice`. `aud` is the issuer.
    pub fn better_auth() -> Self {
        let folder = clients::node_folder(&[("better_auth.mjs", include_str!("../real_providers/better_auth.mjs"))]);
        let mut command = Command::new("node");
        command.arg(folder.path().join("better_auth.mjs"));
        Self::start(command, folder)
    }

    /// PyPI's Canaille: an authorization server with discovery, whose tokens have `alg` `Ed25519`. `aud` is `db`.
    pub fn canaille() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("canaille_server.py");
        fs::write(&script, include_str!("../real_providers/canaille_server.py")).expect("a script");
        let mut command = Command::new(clients::installed().join("venv/bin/python"));
        command.arg(script);
        Self::start(command, folder)
    }

    fn start(mut command: Command, folder: TempDir) -> Self {
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut child = command
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the provider's program");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let input = child.stdin.take().expect("a pipe");
        let mut provider = Self { child, talk: Mutex::new((input, lines)), url: String::new(), folder };
        let line = provider.next_line(&provider.talk.lock().1);
        provider.url = line.strip_prefix("issuer ").unwrap_or_else(|| panic!("{line}")).to_owned();
        provider
    }

    /// The issuer.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A new token of alice.
    pub fn token(&self) -> String {
        self.ask("token")
    }

    /// Signs with another key from now on, and publishes the former one no more.
    pub fn rotate(&self) {
        assert_eq!(self.ask("rotate"), "rotated");
    }

    fn ask(&self, question: &str) -> String {
        let mut talk = self.talk.lock();
        writeln!(talk.0, "{question}").expect("the provider listens");
        self.next_line(&talk.1)
    }

    fn next_line(&self, lines: &Receiver<String>) -> String {
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        lines.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("the provider says nothing: {}", log()))
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
