//! Fetching through a proxy: the setting's, or that of the server's environment.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{NOTES, accepted, token, unavailable};
use pg_test::{Cluster, Issuer, Proxy};

use crate::fetching::issuer;

fn host(issuer: &Issuer) -> String {
    issuer.url().replace("http://", "")
}

#[test]
fn each_request_goes_through_the_proxy_that_is_set() {
    let (issuer, key) = issuer();
    let proxy = Proxy::start();
    let url = format!("http://user:p%40ss@127.0.0.1:{}", proxy.port());
    let mut client = App::of(&NOT_PRELOADED, &issuer, &[("http_proxy", &url)]).connect();
    accepted(&mut client, &token(&key, issuer.url()));
    assert_eq!(proxy.hosts(), [host(&issuer), host(&issuer)], "for the discovery document, and for the keys");
    let heads = proxy.heads().concat().to_ascii_lowercase();
    assert_eq!(heads.matches("proxy-authorization: basic dxnlcjpwqhnz").count(), 2, "user:p@ss: {heads}");
}

#[test]
fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let (issuer, key) = issuer();
    let app = App::of(&NOT_PRELOADED, &issuer, &[("http_proxy", "http://user:secret@127.0.0.1:1")]);
    let error = unavailable(&mut app.connect(), &token(&key, issuer.url()), " through proxy \"127.0.0.1:1\" failed: ");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    assert_eq!(issuer.requests().discovery, 0, "it is not asked directly");
}

#[test]
fn what_is_no_proxy_is_refused() {
    let app = App::new(&NOT_PRELOADED, &[]);
    for bad in ["proxy.example:3128", "socks5://127.0.0.1:1080", "http://", "http://a.example/path"] {
        let error = app.try_set("http_proxy", bad).expect_err(bad);
        assert_eq!(error.sqlstate, "22023", "{error:?}");
    }
}

/// Whoever starts the server says so, as for any other program.
#[test]
fn the_environment_of_the_server_names_a_proxy_and_exceptions() {
    for preloaded in ["", "pg_jwks"] {
        let proxy = Proxy::start();
        let other = Proxy::start();
        let cluster = Cluster::options()
            .setting("shared_preload_libraries", preloaded)
            .setting("pg_jwks.allow_insecure_http", "on")
            .setting("pg_jwks.audience", "app")
            .environment("HTTP_PROXY", &proxy.url())
            .environment("HTTPS_PROXY", "http://127.0.0.1:1")
            .environment("NO_PROXY", "internal.example, localhost")
            .start();
        cluster.client().batch_execute(NOTES).expect("schema");
        let (issuer, key) = issuer();
        let login = |settings: &[(&str, &str)], iss: &str| {
            let app = App::new(&cluster, settings);
            app.set("issuer", iss);
            app.set(
                "jwks_uri",
                &issuer.jwks_uri().replace("127.0.0.1", if iss == "l" { "localhost" } else { "127.0.0.1" }),
            );
            accepted(&mut app.connect(), &token(&key, iss));
        };
        login(&[], "a");
        assert_eq!(proxy.hosts(), [host(&issuer)]);
        login(&[("http_proxy", &other.url())], "b");
        assert_eq!((proxy.hosts().len(), other.hosts().len()), (1, 1), "the setting wins");
        login(&[], "l");
        assert_eq!(proxy.hosts().len(), 1, "NO_PROXY has localhost");
    }
}
