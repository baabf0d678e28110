//! Discovery, JWKS URLs, and issuers that are no URL.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, refused, token, unavailable};
use pg_test::{Alg, Issuer, Requests, SigningKey, sql};

fn issuer_with(key: &SigningKey) -> Issuer {
    let issuer = Issuer::start();
    issuer.publish(&[key]);
    issuer
}

#[test]
fn keys_come_from_discovery_at_the_issuer() {
    let key = SigningKey::generate(Alg::Rs256, "k");
    let issuer = issuer_with(&key);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let mut client = app.connect();
    accepted(&mut client, &token(&key, issuer.url()));
    accepted(&mut client, &token(&key, issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 1, jwks: 1 });
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 2, jwks: 2 }, "each backend fetches for itself, once");
}

#[test]
fn a_jwks_uri_makes_discovery_needless() {
    let key = SigningKey::generate(Alg::Es384, "k");
    let issuer = issuer_with(&key);
    let app = App::of(&NOT_PRELOADED, &issuer, &[("jwks_uri", &issuer.jwks_uri())]);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    assert_eq!(issuer.requests(), Requests { discovery: 0, jwks: 1 });
}

#[test]
fn a_jwks_uri_may_serve_pem() {
    let [key, next, stranger] = ["key", "next", "stranger"].map(|kid| SigningKey::generate(Alg::Rs256, kid));
    let issuer = Issuer::start();
    issuer.publish_body(key.public_pem().into_bytes());
    let app = App::of(&NOT_PRELOADED, &issuer, &[("jwks_uri", &issuer.jwks_uri())]);
    let mut client = app.connect();
    accepted(&mut client, &token(&key, issuer.url()));
    let secret = SigningKey::from_secret(Alg::Hs256, "key", key.public_pem().as_bytes());
    refused(&mut client, &token(&secret, issuer.url()), "28000", "algorithm not allowed", "");
    assert_eq!(issuer.requests(), Requests { discovery: 0, jwks: 1 });

    // PEM has no kid, so a signature that its key has not made is the sign of a new one: asked for once.
    issuer.publish_body(next.public_pem().into_bytes());
    accepted(&mut client, &token(&next, issuer.url()));
    for former_or_forged in [&key, &stranger] {
        refused(&mut client, &token(former_or_forged, issuer.url()), "28000", "signature invalid", "");
    }
    assert_eq!(issuer.requests(), Requests { discovery: 0, jwks: 2 });

    issuer.publish_body(next.public_pem().as_bytes()[..60].to_vec());
    accepted(&mut client, &token(&next, issuer.url()));
    unavailable(&mut app.connect(), &token(&next, issuer.url()), "cannot be read.");
}

#[test]
fn an_issuer_that_is_no_url_needs_a_source_of_keys() {
    let key = SigningKey::generate(Alg::EdDsa, "k");
    let issuer = issuer_with(&key);
    let app = App::new(&NOT_PRELOADED, &[("issuer", "sophia-ai")]);
    let words = "Issuer \"sophia-ai\" is not a URL, so its keys cannot be discovered.";
    let good = token(&key, "sophia-ai");
    let error = refused(&mut app.connect(), &good, "55000", "no key source configured", words);
    assert_eq!(error.hint.as_deref(), Some("Set pg_jwks.jwks_uri or pg_jwks.jwks."));
    app.set("jwks_uri", &issuer.jwks_uri());
    accepted(&mut app.connect(), &good);
}

#[test]
fn an_issuer_is_compared_to_the_letter() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let issuer = issuer_with(&key);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let mut client = app.connect();
    let url = issuer.url();
    for other in [&format!("{url}/"), &url.to_uppercase(), &url[..url.len() - 1], "", "alice"] {
        let words = format!("Claim \"iss\" must be exactly \"{url}\".");
        refused(&mut client, &token(&key, other), "28000", "issuer not accepted", &words);
    }
    assert_eq!(issuer.requests(), Requests::default(), "no request before the issuer is known");
    app.set("issuer", &format!("{url}/"));
    unavailable(&mut app.connect(), &token(&key, &format!("{url}/")), "Only the slash at the end differs.");
}

#[test]
fn issuers_are_separated_by_commas() {
    let (one_key, two_key) = (SigningKey::generate(Alg::Es256, "k"), SigningKey::generate(Alg::Es256, "k"));
    let (one, two) = (issuer_with(&one_key), issuer_with(&two_key));
    let both = format!(" {} ,{},sophia-ai", one.url(), two.url());
    let app = App::new(&NOT_PRELOADED, &[("issuer", &both)]);
    let mut client = app.connect();
    accepted(&mut client, &token(&one_key, one.url()));
    accepted(&mut client, &token(&two_key, two.url()));
    // Each issuer vouches for itself only.
    refused(&mut client, &token(&two_key, one.url()), "28000", "signature invalid", "");
    refused(&mut client, &token(&one_key, &both), "28000", "issuer not accepted", "\" or \"");
    refused(&mut client, &token(&one_key, "sophia-ai"), "55000", "no key source configured", "sophia-ai");
    assert_eq!((one.requests().jwks, two.requests().jwks), (1, 1));
}

#[test]
fn issuers_in_one_list_share_no_jwks_uri() {
    let key = SigningKey::generate(Alg::Ps256, "k");
    let issuer = issuer_with(&key);
    let app = App::new(&NOT_PRELOADED, &[("issuer", "one,two"), ("jwks_uri", &issuer.jwks_uri())]);
    let mut client = app.connect();
    for name in ["one", "two"] {
        refused(&mut client, &token(&key, name), "55000", "settings invalid", "pg_jwks.providers");
    }
    assert_eq!(issuer.requests().jwks, 0);
}

#[test]
fn a_set_by_which_issuers_would_share_keys_is_refused() {
    let mut client = NOT_PRELOADED.client();
    let jwks = pg_test::jwks(&[&SigningKey::generate(Alg::Es256, "k")]).to_string();
    sql::run(&mut client, "LOAD 'pg_jwks'; SET pg_jwks.issuer = 'one'; SET pg_jwks.jwks_uri = 'file:/keys.pem'");
    let mut refuse = |statement: &str| {
        let error = sql::refused(&mut client, statement);
        assert_eq!(error.sqlstate, "22023", "{statement}");
        assert!(error.detail.is_some_and(|detail| detail.contains("would vouch for each")), "{statement}");
        assert_eq!(error.hint.as_deref(), Some("Give each issuer its keys in pg_jwks.providers."), "{statement}");
    };
    for set in ["SET pg_jwks.issuer = 'one, two'", "SELECT set_config('pg_jwks.issuer', 'one,two', false)"] {
        refuse(set);
    }
    sql::run(&mut client, "SET pg_jwks.jwks_uri = ''; SET pg_jwks.issuer = 'one, two'");
    let mut refuse = |statement: &str| {
        assert_eq!(sql::refused(&mut client, statement).sqlstate, "22023", "{statement}");
    };
    refuse("SET pg_jwks.jwks_uri = 'https://a.test/jwks'");
    refuse(&format!("SET pg_jwks.jwks = '{jwks}'"));
    // An issuer with an entry of its own does not share.
    sql::run(&mut client, "SET pg_jwks.providers = '[{\"issuer\": \"two\"}]'; SET pg_jwks.jwks_uri = 'file:/keys.pem'");
    // A name that is said twice is one issuer.
    sql::run(&mut client, "SET pg_jwks.issuer = 'one, one'; RESET pg_jwks.providers");
}

#[test]
fn entries_of_providers_may_name_the_same_jwks_uri() {
    let key = SigningKey::generate(Alg::Ps256, "k");
    let issuer = issuer_with(&key);
    let entries = ["one", "two"].map(|name| serde_json::json!({ "issuer": name, "jwks_uri": issuer.jwks_uri() }));
    let providers = serde_json::Value::from(entries.to_vec()).to_string();
    let app = App::new(&NOT_PRELOADED, &[("providers", &providers)]);
    let mut client = app.connect();
    accepted(&mut client, &token(&key, "one"));
    accepted(&mut client, &token(&key, "two"));
    assert_eq!(issuer.requests().jwks, 1);
}

#[test]
fn no_algorithm_is_verified_with_a_key_of_another_type() {
    let (rsa, ec) = (SigningKey::generate(Alg::Rs256, "rsa"), SigningKey::generate(Alg::Es256, "ec"));
    let issuer = Issuer::start();
    issuer.publish(&[&rsa, &ec]);
    let app = App::of(&NOT_PRELOADED, &issuer, &[]);
    let mut client = app.connect();
    let mut claims = pg_test::claims(issuer.url(), "alice");
    for (key, alg, kid) in [(&rsa, "ES256", "rsa"), (&ec, "RS256", "ec"), (&rsa, "RS256", "ec"), (&rsa, "PS256", "rsa")]
    {
        claims["jti"] = format!("{alg} {kid}").into();
        let forged = key.sign_with(&serde_json::json!({ "alg": alg, "kid": kid }), &claims);
        refused(&mut client, &forged, "28000", "key unknown", alg);
    }
}
