//! A real identity provider on 127.0.0.1, which can also misbehave.

mod connection;
mod request;
mod response;
mod state;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rustls::ServerConfig;
use serde_json::Value;

pub use state::{Document, Fault, Requests};

use crate::keys::{SigningKey, jwks};
#[cfg(feature = "drivers")]
use crate::tls::Certificate;
use state::Shared;

/// An HTTP/1.1 server with a discovery document and a key set; it stops when dropped.
pub struct Issuer {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

/// A port that no issuer of this process has had: the servers of other tests remember what was there.
fn unused_port() -> (TcpListener, SocketAddr) {
    static USED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port to listen on");
        let address = listener.local_addr().expect("the port listened on");
        if USED.lock().insert(address.port()) {
            return (listener, address);
        }
    }
}

impl Issuer {
    /// An issuer at `http://127.0.0.1:<port>`, without keys.
    pub fn start() -> Self {
        Self::listen("http", "127.0.0.1", None)
    }

    /// An issuer at `https://127.0.0.1:<port>`, without keys; at
    /// `https://localhost:<port>` where the certificate is for `localhost`.
    #[cfg(feature = "drivers")]
    pub fn start_tls(certificate: &Certificate) -> Self {
        let host = match certificate.host() {
            "localhost" => "localhost",
            _ => "127.0.0.1",
        };
        Self::listen("https", host, Some(certificate.server_config()))
    }

    fn listen(scheme: &str, host: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let (listener, address) = unused_port();
        let shared = Arc::new(Shared::new(format!("{scheme}://{host}:{}", address.port())));
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || connection::accept(&listener, &shared, tls.as_ref())
        });
        Self { shared, address, accepting: Some(accepting) }
    }

    /// The issuer's identifier, which tokens carry as `iss`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Where the key set is.
    pub fn jwks_uri(&self) -> String {
        format!("{}/jwks.json", self.url())
    }

    /// Replaces the key set.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_json(jwks(keys));
    }

    /// Replaces the key set by any JSON.
    pub fn publish_json(&self, document: Value) {
        self.publish_body(document.to_string().into_bytes());
    }

    /// Replaces the key set by any bytes.
    pub fn publish_body(&self, body: Vec<u8>) {
        self.shared.update(|state| state.jwks = body);
    }

    /// Misbehaves with both documents from now on; [`Fault::None`] ends it.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.update(|state| {
            state.discovery_fault = fault.clone();
            state.jwks_fault = fault;
        });
    }

    /// Misbehaves with one document from now on.
    pub fn set_fault_on(&self, document: Document, fault: Fault) {
        self.shared.update(|state| match document {
            Document::Discovery => state.discovery_fault = fault,
            Document::Jwks => state.jwks_fault = fault,
        });
    }

    /// The `Cache-Control` header of both documents; none at first.
    pub fn set_cache_control(&self, value: Option<&str>) {
        self.shared.update(|state| state.cache_control = value.map(str::to_owned));
    }

    /// Sends an `ETag` with the key set, and 304 to whoever has that version.
    pub fn set_etags(&self, on: bool) {
        self.shared.update(|state| state.etags = on);
    }

    /// Where the discovery document is.
    pub fn set_discovery_path(&self, path: &str) {
        self.shared.update(|state| state.discovery_path = path.to_owned());
    }

    /// Answers 401 to clients that do not show this token.
    pub fn require_token(&self, token: &str) {
        self.shared.update(|state| state.bearer = Some(format!("Bearer {token}")));
    }

    /// The `Authorization` headers of the requests so far.
    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.shared.state.lock().shown.clone()
    }

    /// How often it answered 304 since the start.
    pub fn not_modified(&self) -> usize {
        self.shared.state.lock().not_modified
    }

    /// The requests so far, those included that a fault left unanswered.
    pub fn requests(&self) -> Requests {
        self.shared.state.lock().requests
    }

    /// Counts from zero again.
    pub fn reset_requests(&self) {
        self.shared.update(|state| state.requests = Requests::default());
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.update(|state| state.stopped = true);
        // The accepting thread looks at `stopped` only when a connection comes.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            // Its panic, if any, has been printed; this may run while a test panics.
            let _ = accepting.join();
        }
    }
}
