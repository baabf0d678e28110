//! What an issuer has to answer with, and how it misbehaves; shared by its connections.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::keys::jwks;

/// One of the two documents an issuer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/jwks.json`
    Jwks,
}

/// How an issuer misbehaves. What a fault does not speak of stays good: a
/// response with a bad status still has the right body, so that a client which
/// overlooks the status is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    None,
    /// Answers after a while.
    Delay(Duration),
    /// Accepts the request and does not answer until the fault is cleared.
    Hang,
    /// Answers with this status.
    Status(u16),
    /// Answers 200 with bytes that are not JSON.
    Garbage,
    /// The key set has no keys; the discovery document stays good.
    EmptySet,
    /// Pads the document with blanks (so it stays valid JSON) to this many bytes.
    Oversized(usize),
    /// Answers 302 to this location.
    Redirect(String),
    /// The discovery document names another issuer; the key set stays good.
    WrongIssuer,
    /// Declares more bytes than it sends, then closes.
    Truncated,
    /// Closes the connection instead of answering.
    Refuse,
    /// Has the document as `application/jwk-set+json` only, as Kubernetes does, and answers 406 to whoever does not take
    /// that.
    JwkSetOnly,
    /// Sends the response byte by byte, with this pause after each.
    Trickle(Duration),
}

/// How often each document was asked for since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests for the discovery document.
    pub discovery: usize,
    /// Requests for the key set.
    pub jwks: usize,
}

pub(super) struct State {
    pub(super) jwks: Vec<u8>,
    pub(super) cache_control: Option<String>,
    pub(super) etags: bool,
    pub(super) not_modified: usize,
    pub(super) discovery_path: String,
    pub(super) bearer: Option<String>,
    pub(super) shown: Vec<Option<String>>,
    pub(super) discovery_fault: Fault,
    pub(super) jwks_fault: Fault,
    pub(super) requests: Requests,
    pub(super) stopped: bool,
}

pub(super) struct Shared {
    pub(super) url: String,
    pub(super) state: Mutex<State>,
    changed: Condvar,
}

impl State {
    fn fault(&self, document: Document) -> &Fault {
        match document {
            Document::Discovery => &self.discovery_fault,
            Document::Jwks => &self.jwks_fault,
        }
    }
}

impl Shared {
    /// An issuer without keys or faults at this URL.
    pub(super) fn new(url: String) -> Self {
        let state = State {
            jwks: jwks(&[]).to_string().into_bytes(),
            cache_control: None,
            etags: false,
            not_modified: 0,
            discovery_path: "/.well-known/openid-configuration".into(),
            bearer: None,
            shown: Vec::new(),
            discovery_fault: Fault::None,
            jwks_fault: Fault::None,
            requests: Requests::default(),
            stopped: false,
        };
        Self { url, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    pub(super) fn count(&self, document: Document) {
        let requests = &mut self.state.lock().requests;
        match document {
            Document::Discovery => requests.discovery += 1,
            Document::Jwks => requests.jwks += 1,
        }
    }

    /// Whether a client that shows this may have the documents.
    pub(super) fn admits(&self, authorization: Option<String>) -> bool {
        let mut state = self.state.lock();
        let is_admitted = state.bearer.is_none() || state.bearer == authorization;
        state.shown.push(authorization);
        is_admitted
    }

    /// The fault in force, once it is not [`Fault::Hang`]; nothing when stopped.
    pub(super) fn wait_out_hang(&self, document: Document) -> Option<Fault> {
        let mut state = self.state.lock();
        while !state.stopped && *state.fault(document) == Fault::Hang {
            self.changed.wait(&mut state);
        }
        (!state.stopped).then(|| state.fault(document).clone())
    }

    /// Sleeps; false when the issuer was stopped meanwhile.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.stopped, time);
        !state.stopped
    }
}
