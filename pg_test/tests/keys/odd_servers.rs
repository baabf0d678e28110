//! Servers that say whatever a test wants, which no well-behaved issuer does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use pg_test::Certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Writes an answer until the client has had enough.
pub type Answer = fn(&mut dyn Write, port: u16);

/// A server at a port of its own, as long as this process lives.
pub struct OddServer {
    port: u16,
}

impl OddServer {
    /// Answers each request without TLS.
    pub fn plain(answer: Answer) -> Self {
        Self::listen(answer, |stream| Some(Box::new(stream)))
    }

    /// Answers each request over TLS.
    pub fn tls(certificate: &Certificate, answer: Answer) -> Self {
        let config = server_config(certificate);
        Self::listen(answer, move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
            Some(Box::new(StreamOwned::new(connection, stream)))
        })
    }

    fn listen(answer: Answer, wrap: impl Fn(TcpStream) -> Option<Box<dyn ReadWrite>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(mut stream) = wrap(stream) {
                    thread::spawn(move || {
                        // One read is one request: these requests are small.
                        let _ = stream.read(&mut [0; 4096]);
                        answer(&mut *stream, port);
                    });
                }
            }
        });
        Self { port }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

fn server_config(certificate: &Certificate) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("certificate and key fit");
    Arc::new(config)
}
