//! What is asked of a provider, and which answers are read.

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{NOTES, accepted, token, unavailable};
use pg_test::{Alg, Cluster, Fault, Issuer, Requests, SigningKey, jwks};
use serde_json::json;

use crate::odd_servers::OddServer;

/// An issuer, and the key that it publishes.
pub fn issuer() -> (Issuer, SigningKey) {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    (issuer, key)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// OAuth 2.0 Authorization Server Metadata (RFC 8414), of servers that are no OpenID provider.
#[test]
fn the_metadata_of_an_oauth_server_is_read_if_there_is_no_discovery_document() {
    let (issuer, key) = issuer();
    issuer.set_discovery_path("/.well-known/oauth-authorization-server");
    accepted(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
    issuer.set_fault(Fault::WrongIssuer);
    let words = "is of issuer \"https://other-issuer.example\", not of ";
    unavailable(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()), words);
    issuer.set_discovery_path("/nowhere");
    let url = issuer.url();
    let words = format!(
        "There is no discovery document: GET {url}/.well-known/openid-configuration answered 404, \
         GET {url}/.well-known/oauth-authorization-server answered 404. "
    );
    unavailable(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, url), &words);
}

/// A server that fails is no server without a document.
#[test]
fn the_metadata_of_an_oauth_server_is_not_asked_for_if_the_discovery_fails() {
    let (issuer, key) = issuer();
    issuer.set_fault(Fault::Status(500));
    let words = "/.well-known/openid-configuration answered 500.";
    unavailable(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()), words);
}

#[test]
fn a_token_is_shown_to_the_server_that_wants_one_and_read_anew_each_time() {
    let (issuer, key) = issuer();
    let path = NOT_PRELOADED.write_file("service.token", " first\n");
    let path = path.to_str().expect("UTF-8");
    let app = App::of(&NOT_PRELOADED, &issuer, &[("jwks_token_file", path), ("jwks_cache_ttl", "1s")]);
    issuer.require_token("first");
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    issuer.require_token("second");
    unavailable(&mut app.connect(), &token(&key, issuer.url()), "answered 401.");
    NOT_PRELOADED.write_file("service.token", "second");
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    for (content, words) in [
        ("", "must have one token"),
        ("\n \n", "must have one token"),
        ("two words", "must have one token"),
        ("t\u{e9}st", "must have one token"),
    ] {
        NOT_PRELOADED.write_file("service.token", content);
        let error = unavailable(&mut app.connect(), &token(&key, issuer.url()), words);
        assert!(content.trim().is_empty() || !format!("{error:?}").contains(content), "{error:?}");
    }
    std::fs::remove_file(path).expect("the file");
    unavailable(
        &mut app.connect(),
        &token(&key, issuer.url()),
        "of jwks_token_file has no token. The file cannot be read",
    );
    let app = App::new(&NOT_PRELOADED, &[]);
    assert_eq!(app.try_set("jwks_token_file", "service.token").expect_err("a relative path").sqlstate, "22023");
}

/// Neither to other issuers, nor to another server that the discovery document names.
#[test]
fn a_token_is_shown_to_nobody_else() {
    let ((own, key), (other, _)) = (issuer(), issuer());
    let path = NOT_PRELOADED.write_file("own.token", "secret");
    let path = path.to_str().expect("UTF-8");
    let entry = |issuer: &Issuer| json!({ "issuer": issuer.url() });
    let mut with_token = entry(&own);
    with_token["jwks_token_file"] = path.into();
    other.publish(&[&key]);
    for (providers, settings) in [
        (json!([with_token, entry(&other)]), &[][..]),
        (json!([entry(&other)]), &[("issuer", own.url()), ("jwks_token_file", path)][..]),
    ] {
        let app = App::new(&NOT_PRELOADED, settings);
        app.set("providers", &providers.to_string());
        let mut client = app.connect();
        accepted(&mut client, &token(&key, own.url()));
        accepted(&mut client, &token(&key, other.url()));
    }
    assert_eq!(own.authorizations(), vec![Some("Bearer secret".to_owned()); 4]);
    assert_eq!(other.authorizations(), vec![None; 4]);
    // The keys are at another server, which wants a token too.
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    fn elsewhere(out: &mut dyn Write, port: u16) {
        let body = format!(r#"{{"issuer":"http://127.0.0.1:{port}","jwks_uri":"http://localhost:{port}/keys"}}"#);
        let status = if REQUESTS.fetch_add(1, Ordering::SeqCst) == 0 { 200 } else { 403 };
        let _ = write!(out, "HTTP/1.1 {status} \r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
    let server = OddServer::plain(elsewhere);
    let url = format!("http://127.0.0.1:{}", server.port());
    let app = App::new(&NOT_PRELOADED, &[("issuer", &url), ("jwks_token_file", path)]);
    let words = "answered 403; the token of jwks_token_file is not shown to another server than the configured one.";
    unavailable(&mut app.connect(), &token(&key, &url), words);
}

#[test]
fn gzip_that_nobody_asked_for_is_read() {
    let (issuer, key) = issuer();
    issuer.publish_body(gzip(jwks(&[&key]).to_string().as_bytes()));
    accepted(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()));
    let path = NOT_PRELOADED.write_bytes("keys.json.gz", &gzip(jwks(&[&key]).to_string().as_bytes()));
    let uri = format!("file:{}", path.display());
    let app = App::new(&NOT_PRELOADED, &[("issuer", "zipped"), ("jwks_uri", &uri)]);
    accepted(&mut app.connect(), &token(&key, "zipped"));
    let whole = gzip(jwks(&[&key]).to_string().as_bytes());
    for (body, words) in [
        (whole[..whole.len() / 2].to_vec(), "begins as gzip does, and is not gzip."),
        // Of some hundred KiB that were a gigabyte.
        (gzip(&vec![b' '; 64 << 20]), "The key document is larger than 262144 bytes."),
    ] {
        issuer.publish_body(body);
        unavailable(&mut App::of(&NOT_PRELOADED, &issuer, &[]).connect(), &token(&key, issuer.url()), words);
    }
}

#[test]
fn an_encoding_that_nobody_asked_for_is_named() {
    fn brotli(out: &mut dyn Write, _: u16) {
        let _ = write!(out, "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd");
    }
    let url = format!("http://127.0.0.1:{}/keys", OddServer::plain(brotli).port());
    let app = App::new(&NOT_PRELOADED, &[("issuer", "br"), ("jwks_uri", &url)]);
    let words = "answered in \"br\", which was not asked for.";
    unavailable(&mut app.connect(), &token(&SigningKey::generate(Alg::Es256, "k"), "br"), words);
}

#[test]
fn of_too_many_keys_the_newest_serve_and_the_rest_is_shown() {
    let keys: Vec<_> = (0..300).map(|number| SigningKey::generate(Alg::Es256, &format!("k{number}"))).collect();
    let mut document = jwks(&keys.iter().collect::<Vec<_>>());
    for (age, key) in document["keys"].as_array_mut().expect("keys").iter_mut().enumerate() {
        key["iat"] = (1_700_000_000 - age).into();
    }
    document["keys"].as_array_mut().expect("keys").reverse();
    let issuer = Issuer::start();
    issuer.publish_json(document);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let mut client = app.connect();
    for newest in [0, 100, 255] {
        accepted(&mut client, &token(&keys[newest], issuer.url()));
    }
    let error = pg_test::login::refused(&mut client, &token(&keys[256], issuer.url()), "28000", "key unknown", "");
    assert!(error.hint.is_some_and(|hint| hint.contains("is not one of the newest")));
    let rows = client.query("SELECT problem IS NULL, count(*) FROM auth.jwks() GROUP BY 1 ORDER BY 1", &[]);
    let rows: Vec<(bool, i64)> = rows.expect("auth.jwks()").iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [(false, 44), (true, 256)]);
}

/// A host whose first address drops what it is sent.
#[test]
#[cfg_attr(without_mount_namespaces, ignore = "a server needs root, and a mount namespace, to have its own /etc/hosts")]
fn an_address_that_is_dead_does_not_stand_in_the_way_of_the_next() {
    let (issuer, key) = issuer();
    let port: u16 = issuer.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    // Once its queue is full, a listener that accepts nobody answers no more.
    let dead = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).expect("an IPv6 port");
    let waiting: Vec<_> = (0..4096)
        .map_while(|_| {
            TcpStream::connect_timeout(&dead.local_addr().expect("an address"), Duration::from_millis(300)).ok()
        })
        .collect();
    assert!(waiting.len() < 4096, "the listener never stops to answer");
    let cluster = Cluster::options()
        .with_hosts("::1 two.test\n127.0.0.1 two.test\n127.0.0.1 localhost\n")
        .setting("pg_jwks.allow_insecure_http", "on")
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.issuer", "two")
        .setting("pg_jwks.jwks_uri", &format!("http://two.test:{port}/jwks.json"))
        .start();
    cluster.client().batch_execute(NOTES).expect("schema");
    let start = Instant::now();
    accepted(&mut App::new(&cluster, &[]).connect(), &token(&key, "two"));
    let took = start.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_millis(2500)).contains(&took), "{took:?}");
}
