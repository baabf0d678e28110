//! Who the issuer is, is proven by TLS.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, init, refused, token, unavailable};
use pg_test::{Alg, Authority, Certificate, Issuer, Requests, SigningKey, Validity};

use crate::odd_servers::OddServer;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::Es256, "k"));

fn issuer_with(certificate: &Certificate) -> Issuer {
    let issuer = Issuer::start_tls(certificate);
    issuer.publish(&[&KEY]);
    issuer
}

fn good_certificate() -> Certificate {
    AUTHORITY.issue("localhost", Validity::Valid)
}

fn ca_file(name: &str, authority: &Authority) -> String {
    path_text(NOT_PRELOADED.write_file(name, &authority.pem()))
}

fn path_text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

/// An application that demands TLS and trusts these roots.
fn strict(issuer: &Issuer, settings: &[(&str, &str)]) -> App<'static> {
    let app = App::of(&NOT_PRELOADED, issuer, settings);
    app.set("allow_insecure_http", "off");
    app
}

#[test]
fn a_private_authority_is_trusted_where_ca_file_says_so() {
    for host in ["localhost", "127.0.0.1"] {
        let issuer = issuer_with(&AUTHORITY.issue(host, Validity::Valid));
        assert!(issuer.url().starts_with(&format!("https://{host}:")));
        let app = strict(&issuer, &[("ca_file", &ca_file(&format!("{host}.pem"), &AUTHORITY))]);
        accepted(&mut app.connect(), &token(&KEY, issuer.url()));
        assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
    }
}

#[test]
fn trust_roots_are_read_for_tls_only() {
    let path = NOT_PRELOADED.write_file("short-lived.pem", &AUTHORITY.pem());
    let (plain, secure) = (Issuer::start(), issuer_with(&good_certificate()));
    plain.publish(&[&KEY]);
    let sessions = [&plain, &secure].map(|issuer| {
        let mut session = App::of(&NOT_PRELOADED, issuer, &[("ca_file", path.to_str().expect("UTF-8"))]).connect();
        session.batch_execute("SELECT auth.init()").expect("the library is loaded");
        session
    });
    fs::remove_file(&path).expect("removed");
    let [mut over_http, mut over_tls] = sessions;
    accepted(&mut over_http, &token(&KEY, plain.url()));
    unavailable(&mut over_tls, &token(&KEY, secure.url()), "pg_jwks.ca_file");
}

#[test]
fn an_issuer_that_does_not_prove_who_it_is_gets_no_request() {
    let trusted = ca_file("trusted.pem", &AUTHORITY);
    let other = ca_file("other.pem", &Authority::new());
    let bundle =
        path_text(NOT_PRELOADED.write_file("bundle.pem", &format!("{}{}", Authority::new().pem(), AUTHORITY.pem())));
    let wrong_host = AUTHORITY.issue("issuer.example", Validity::Valid);
    let expired = AUTHORITY.issue("localhost", Validity::Expired);
    for (certificate, ca_file, words) in [
        (good_certificate(), None, "its certificate was not issued by a trusted authority; "),
        (
            good_certificate(),
            Some(&other),
            "its certificate was not issued by a trusted authority; if it is self-signed, ",
        ),
        (wrong_host, Some(&trusted), "its certificate is not for this host."),
        (expired, Some(&trusted), "its certificate has expired."),
    ] {
        let issuer = issuer_with(&certificate);
        for insecure in ["off", "on"] {
            let app = App::of(&NOT_PRELOADED, &issuer, &[("allow_insecure_http", insecure)]);
            if let Some(ca_file) = ca_file {
                app.set("ca_file", ca_file);
            }
            unavailable(&mut app.connect(), &token(&KEY, issuer.url()), words);
        }
        assert_eq!(issuer.requests(), Requests::default());
    }
    let issuer = issuer_with(&good_certificate());
    accepted(&mut strict(&issuer, &[("ca_file", &bundle)]).connect(), &token(&KEY, issuer.url()));
}

#[test]
fn plain_http_is_refused_unless_allowed() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    let app = strict(&issuer, &[]);
    let good = token(&KEY, issuer.url());
    let words = "without TLS.";
    let error = refused(&mut app.connect(), &good, "55000", "keys unavailable", words);
    assert!(error.hint.is_some_and(|hint| hint.contains("pg_jwks.allow_insecure_http")));
    app.set("jwks_uri", &issuer.jwks_uri());
    unavailable(&mut app.connect(), &good, words);
    assert_eq!(issuer.requests(), Requests::default());
    app.set("allow_insecure_http", "on");
    accepted(&mut app.connect(), &good);
}

fn discovery_of_plain_http(out: &mut dyn Write, port: u16) {
    // Port 1 is where nobody listens: a request would fail with other words.
    let body = format!(r#"{{"issuer":"https://localhost:{port}","jwks_uri":"http://127.0.0.1:1/jwks.json"}}"#);
    let _ = write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _ = out.flush();
}

#[test]
fn a_discovery_document_cannot_lead_away_from_tls() {
    let server = OddServer::tls(&good_certificate(), discovery_of_plain_http);
    let issuer = format!("https://localhost:{}", server.port());
    let app = App::new(&NOT_PRELOADED, &[("issuer", &issuer), ("ca_file", &ca_file("downgrade.pem", &AUTHORITY))]);
    app.set("allow_insecure_http", "off");
    let words = "The discovery document names \"http://127.0.0.1:1/jwks.json\", which is without TLS.";
    unavailable(&mut app.connect(), &token(&KEY, &issuer), words);
}

#[test]
fn a_server_without_tls_at_an_https_url_is_refused() {
    let plain = Issuer::start();
    plain.publish(&[&KEY]);
    let url = plain.jwks_uri().replace("http:", "https:");
    let app = App::new(&NOT_PRELOADED, &[("issuer", "me"), ("jwks_uri", &url)]);
    unavailable(&mut app.connect(), &token(&KEY, "me"), "GET https://127.0.0.1:");
    assert_eq!(plain.requests(), Requests::default());
    fn bad_request(out: &mut dyn Write, _: u16) {
        let _ = out.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    }
    app.set("jwks_uri", &format!("https://localhost:{}/keys", OddServer::plain(bad_request).port()));
    unavailable(&mut app.connect(), &token(&KEY, "me"), " failed: it does not speak TLS there.");
}

/// What `openssl req -x509` makes is the certificate of an authority.
#[test]
fn a_certificate_of_an_authority_is_not_a_servers() {
    let authority = Authority::new();
    let issuer = issuer_with(&authority.own_certificate("localhost"));
    let app = strict(&issuer, &[("ca_file", &ca_file("self.pem", &authority))]);
    let words = "its certificate is that of an authority (CA:TRUE), which must not be a server's";
    unavailable(&mut app.connect(), &token(&KEY, issuer.url()), words);
}

/// Fatal alerts (RFC 8446 section 6), as servers send that have nothing in common with the client.
#[test]
fn a_server_without_a_safe_version_of_tls_is_named() {
    fn no_version(out: &mut dyn Write, _: u16) {
        let _ = out.write_all(&[21, 3, 1, 0, 2, 2, 70]).and_then(|()| out.flush());
    }
    fn no_cipher(out: &mut dyn Write, _: u16) {
        let _ = out.write_all(&[21, 3, 3, 0, 2, 2, 40]).and_then(|()| out.flush());
    }
    // A ServerHello of TLS 1.1.
    fn old_version(out: &mut dyn Write, _: u16) {
        let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        hello.extend([7; 32]);
        hello.extend([0, 0xC0, 0x13, 0]);
        let _ = out.write_all(&hello).and_then(|()| out.flush());
    }
    let server = |answer| {
        let url = format!("https://localhost:{}/jwks.json", OddServer::plain(answer).port());
        App::new(&NOT_PRELOADED, &[("issuer", "me"), ("jwks_uri", &url)])
    };
    for (app, words) in [
        (server(no_version), "it has no version of TLS that is still safe (1.2 or 1.3)."),
        (server(no_cipher), "it has no cipher of TLS 1.2 or 1.3 that is still safe."),
        (server(old_version), "it has no version of TLS that is still safe (1.2 or 1.3)."),
    ] {
        unavailable(&mut app.connect(), &token(&KEY, "me"), words);
    }
}

#[test]
fn the_connect_timeout_bounds_the_handshake() {
    fn silence(_: &mut dyn Write, _: u16) {
        sleep(Duration::from_secs(10));
    }
    let server = OddServer::plain(silence);
    let url = format!("https://localhost:{}/jwks.json", server.port());
    let app = App::new(
        &NOT_PRELOADED,
        &[("issuer", "me"), ("jwks_uri", &url), ("connect_timeout", "300ms"), ("fetch_timeout", "8s")],
    );
    let start = Instant::now();
    unavailable(&mut app.connect(), &token(&KEY, "me"), "took too long.");
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn a_ca_file_that_is_lost_is_named() {
    let issuer = issuer_with(&good_certificate());
    let path = ca_file("lost.pem", &AUTHORITY);
    let mut client = NOT_PRELOADED.client();
    client.batch_execute("LOAD 'pg_jwks'").expect("LOAD");
    let set = format!("SET pg_jwks.ca_file = '{path}'; SET pg_jwks.issuer = '{}'", issuer.url());
    client.batch_execute(&set).expect("SET");
    fs::remove_file(path).expect("the file");
    let error = init(&mut client, &token(&KEY, issuer.url())).expect_err("no trust roots");
    assert_eq!(error.message, "JWT rejected: keys unavailable");
    assert!(error.detail.as_deref().is_some_and(|detail| detail.contains("pg_jwks.ca_file: ")), "{error:?}");
}
