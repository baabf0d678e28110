//! Connections: one thread and one request each.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::request::request;
use super::response::Response;
use super::state::{Document, Fault, Shared};

/// A client that falls silent must not keep a thread forever.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves connections until the issuer is stopped.
pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>, tls: Option<&Arc<ServerConfig>>) {
    for stream in listener.incoming() {
        if shared.state.lock().stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        let tls = tls.cloned();
        // Clients that vanish, or that do not like the certificate, are what
        // the tests are about: such errors are theirs to see.
        thread::spawn(move || serve(&shared, stream, tls));
    }
}

fn serve(shared: &Shared, mut stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else {
        return answer(shared, &mut stream);
    };
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    answer(shared, &mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn answer(shared: &Shared, stream: &mut (impl Read + Write)) -> io::Result<()> {
    let Some(request) = request(stream)? else { return Ok(()) };
    // Whatever the query: many issuers can have their keys at one server.
    let document = match request.path.split('?').next().unwrap_or_default() {
        path if path == shared.state.lock().discovery_path => Document::Discovery,
        "/jwks.json" => Document::Jwks,
        _ => return stream.write_all(&Response::empty(404).to_bytes()),
    };
    if !shared.admits(request.authorization.clone()) {
        return stream.write_all(&Response::empty(401).to_bytes());
    }
    shared.count(document);
    let Some(fault) = shared.wait_out_hang(document) else {
        return Ok(());
    };
    if let Fault::Delay(time) = fault
        && !shared.pause(time)
    {
        return Ok(());
    }
    let Some(response) = Response::new(shared, document, &fault, &request) else {
        return Ok(());
    };
    let bytes = response.to_bytes();
    if let Fault::Trickle(time) = fault {
        for byte in bytes.chunks(1) {
            stream.write_all(byte)?;
            stream.flush()?;
            if !shared.pause(time) {
                break;
            }
        }
        return Ok(());
    }
    stream.write_all(&bytes)?;
    stream.flush()
}
