//! An issuer behaves, and misbehaves, as told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::{Alg, Authority, Document, Fault, Issuer, Requests, SigningKey, Validity, jwks};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

const DISCOVERY: &str = "/.well-known/openid-configuration";

fn exchange(stream: &mut (impl Read + Write), path: &str) -> Vec<u8> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: issuer\r\n\r\n").expect("request sent");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).expect("response read");
    response
}

fn request(issuer: &Issuer, path: &str) -> (String, Vec<u8>) {
    let address = issuer.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connected");
    let response = exchange(&mut stream, path);
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of the head");
    let head = String::from_utf8(response[..end].to_vec()).expect("the head is text");
    (head, response[end + 4..].to_vec())
}

fn json_at(issuer: &Issuer, path: &str) -> Value {
    serde_json::from_slice(&request(issuer, path).1).expect("JSON")
}

#[test]
fn an_issuer_serves_its_documents_and_counts() {
    let issuer = Issuer::start();
    assert_eq!(json_at(&issuer, DISCOVERY)["issuer"], issuer.url());
    assert_eq!(json_at(&issuer, DISCOVERY)["jwks_uri"], issuer.jwks_uri());
    assert_eq!(json_at(&issuer, "/jwks.json"), json!({ "keys": [] }));
    assert!(request(&issuer, "/else").0.starts_with("HTTP/1.1 404 "));
    assert_eq!(issuer.requests(), Requests { discovery: 2, jwks: 1 });
    issuer.reset_requests();
    assert_eq!(issuer.requests(), Requests::default());

    let key = SigningKey::generate(Alg::Es256, "k1");
    issuer.publish(&[&key]);
    issuer.set_cache_control(Some("max-age=60"));
    let (head, body) = request(&issuer, "/jwks.json");
    assert!(head.contains("\r\nCache-Control: max-age=60"), "{head}");
    assert_eq!(body, jwks(&[&key]).to_string().into_bytes());
    issuer.publish_body(b"any".to_vec());
    issuer.set_cache_control(None);
    let (head, body) = request(&issuer, "/jwks.json");
    assert!(!head.contains("Cache-Control"), "{head}");
    assert_eq!(body, b"any");
}

#[test]
fn an_issuer_knows_whether_a_client_has_its_keys() {
    let issuer = Issuer::start();
    assert!(!request(&issuer, "/jwks.json").0.contains("ETag"));
    issuer.set_etags(true);
    let (head, _) = request(&issuer, "/jwks.json");
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("an ETag").to_owned();
    let conditional = |etag: &str| {
        let path = format!("/jwks.json HTTP/1.1\r\nIf-None-Match: {etag}\r\nX:");
        request(&issuer, &path).0
    };
    assert!(conditional(&etag).starts_with("HTTP/1.1 304 "));
    assert!(conditional("\"other\"").starts_with("HTTP/1.1 200 "));
    issuer.publish(&[&SigningKey::generate(Alg::Es256, "k1")]);
    assert!(conditional(&etag).starts_with("HTTP/1.1 200 "), "the keys are others");
    assert_eq!(issuer.not_modified(), 1);
}

#[test]
fn an_issuer_answers_wrongly_on_request() {
    let issuer = Issuer::start();
    let key = SigningKey::generate(Alg::Es256, "k1");
    issuer.publish(&[&key]);
    let good = jwks(&[&key]);

    issuer.set_fault(Fault::Status(503));
    assert!(request(&issuer, "/jwks.json").0.starts_with("HTTP/1.1 503 \r\n"));
    issuer.set_fault(Fault::Garbage);
    assert!(serde_json::from_slice::<Value>(&request(&issuer, DISCOVERY).1).is_err());
    issuer.set_fault(Fault::EmptySet);
    assert_eq!(json_at(&issuer, "/jwks.json"), json!({ "keys": [] }));
    assert_eq!(json_at(&issuer, DISCOVERY)["issuer"], issuer.url());
    issuer.set_fault(Fault::Oversized(300_000));
    assert_eq!(request(&issuer, "/jwks.json").1.len(), 300_000);
    assert_eq!(json_at(&issuer, "/jwks.json"), good);
    issuer.set_fault(Fault::Redirect("http://127.0.0.1:1/".to_owned()));
    let (head, _) = request(&issuer, "/jwks.json");
    assert!(head.starts_with("HTTP/1.1 302 ") && head.contains("\r\nLocation: http://127.0.0.1:1/"), "{head}");
    issuer.set_fault(Fault::WrongIssuer);
    assert_ne!(json_at(&issuer, DISCOVERY)["issuer"], issuer.url());
    assert_eq!(json_at(&issuer, "/jwks.json"), good);
    issuer.set_fault(Fault::Truncated);
    let (head, body) = request(&issuer, "/jwks.json");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len() + 100)), "{head}");
    issuer.set_fault_on(Document::Jwks, Fault::None);
    assert_eq!(json_at(&issuer, "/jwks.json"), good);
}

#[test]
fn an_issuer_hangs_delays_and_closes_on_request() {
    let issuer = Issuer::start();
    let address = issuer.url().trim_start_matches("http://").to_owned();

    issuer.set_fault(Fault::Refuse);
    let mut stream = TcpStream::connect(&address).expect("connected");
    assert_eq!(exchange(&mut stream, "/jwks.json"), b"");

    let pause = Duration::from_millis(200);
    issuer.set_fault(Fault::Delay(pause));
    let start = Instant::now();
    assert_eq!(json_at(&issuer, "/jwks.json"), json!({ "keys": [] }));
    assert!(start.elapsed() >= pause);

    issuer.set_fault(Fault::Trickle(Duration::from_millis(1)));
    let start = Instant::now();
    let (head, body) = request(&issuer, "/jwks.json");
    assert_eq!(body, br#"{"keys":[]}"#);
    assert!(start.elapsed() >= Duration::from_millis(1) * u32::try_from(head.len()).expect("a short head"));

    issuer.set_fault_on(Document::Jwks, Fault::Hang);
    let mut stream = TcpStream::connect(&address).expect("connected");
    stream.set_read_timeout(Some(pause)).expect("a timeout");
    write!(stream, "GET /jwks.json HTTP/1.1\r\n\r\n").expect("request sent");
    let error = stream.read(&mut [0; 1]).expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    issuer.set_fault(Fault::None);
    let mut response = String::new();
    stream.set_read_timeout(None).expect("no timeout");
    stream.read_to_string(&mut response).expect("an answer, once the fault is cleared");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    issuer.set_fault(Fault::Hang);
    let mut stream = TcpStream::connect(&address).expect("connected");
    let before = issuer.requests().jwks;
    write!(stream, "GET /jwks.json HTTP/1.1\r\n\r\n").expect("request sent");
    while issuer.requests().jwks == before {
        thread::yield_now();
    }
    drop(issuer);
    assert_eq!(stream.read(&mut [0; 1]).expect("closed with the issuer"), 0);
    assert!(TcpStream::connect(&address).is_err());
}

fn tls_request(issuer: &Issuer, authority: &Authority) -> Result<Vec<u8>, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = issuer.url().trim_start_matches("https://");
    let name = address.split(':').next().expect("a host").to_owned();
    let name = ServerName::try_from(name).expect("a server name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name)?;
    let mut socket = TcpStream::connect(address).expect("connected");
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut socket) {
            return Err(error.downcast::<rustls::Error>().expect("a TLS error"));
        }
    }
    Ok(exchange(&mut rustls::Stream::new(&mut connection, &mut socket), "/jwks.json"))
}

#[test]
fn an_issuer_speaks_tls() {
    let authority = Authority::new();
    for host in ["127.0.0.1", "localhost"] {
        let issuer = Issuer::start_tls(&authority.issue(host, Validity::Valid));
        assert!(issuer.url().starts_with(&format!("https://{host}:")));
        let response = tls_request(&issuer, &authority).expect("a trusted certificate");
        assert!(response.ends_with(br#"{"keys":[]}"#));
        tls_request(&issuer, &Authority::new()).expect_err("nobody trusts this authority");
    }
    let expired = Issuer::start_tls(&authority.issue("127.0.0.1", Validity::Expired));
    let error = tls_request(&expired, &authority).expect_err("expired").to_string();
    assert!(error.contains("expired"), "{error}");
    let other = Issuer::start_tls(&authority.issue("other.example", Validity::Valid));
    let error = tls_request(&other, &authority).expect_err("another host").to_string();
    assert!(error.contains("not valid for name"), "{error}");
}
