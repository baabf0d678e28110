//! `pg_jwks.providers`: several issuers, each with settings of its own.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, refused, token, unavailable};
use pg_test::{Alg, Issuer, SigningKey, claims, claims_with, jwks};
use serde_json::{Value, json};

/// Alice's claims with changes.
fn changed(iss: &str, changes: Value) -> Value {
    claims_with(iss, "alice", &changes)
}

fn app_with(providers: &Value, settings: &[(&str, &str)]) -> App<'static> {
    let app = App::new(&NOT_PRELOADED, settings);
    app.set("providers", &providers.to_string());
    app
}

#[test]
fn each_provider_has_keys_of_its_own() {
    let keys: Vec<_> = (0..4).map(|_| SigningKey::generate(Alg::Es256, "same")).collect();
    let (discovered, fetched) = (Issuer::start(), Issuer::start());
    discovered.publish(&[&keys[0]]);
    fetched.publish(&[&keys[1]]);
    let file = NOT_PRELOADED.write_file("provider.pem", &keys[3].public_pem());
    let providers = json!([
        { "issuer": discovered.url() },
        { "issuer": "fetched", "jwks_uri": fetched.jwks_uri() },
        { "issuer": "inline", "jwks": jwks(&[&keys[2]]) },
        { "issuer": "file", "jwks_uri": format!("file:{}", file.display()) },
    ]);
    let mut client = app_with(&providers, &[]).connect();
    let names = [discovered.url(), "fetched", "inline", "file"];
    for (key, own) in keys.iter().zip(names) {
        accepted(&mut client, &token(key, own));
        for other in names.into_iter().filter(|other| *other != own) {
            refused(&mut client, &token(key, other), "28000", "signature invalid", "");
        }
    }
    let words = "\"fetched\" or \"inline\" or \"file\".";
    refused(&mut client, &token(&keys[0], "nobody"), "28000", "issuer not accepted", words);
}

#[test]
fn each_provider_has_an_audience_scope_and_token_type_of_its_own() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let keys = jwks(&[&key]);
    let providers = json!([
        { "issuer": "plain", "jwks": keys },
        {
            "issuer": "strict", "jwks": keys,
            "audience": ["shop", "till"], "required_scope": "read write", "token_type": "access",
        },
        { "issuer": "loose", "jwks": keys, "audience": "*", "required_scope": [], "token_type": "any" },
    ]);
    let mut client = app_with(&providers, &[("required_scope", "read")]).connect();
    let sign = |iss: &str, typ: &str, changes: Value| {
        let header = json!({ "alg": "ES256", "kid": "k", "typ": typ });
        key.sign_with(&header, &changed(iss, changes))
    };
    accepted(&mut client, &sign("plain", "JWT", json!({ "scope": "read" })));
    refused(&mut client, &sign("plain", "JWT", json!({ "scope": "write" })), "28000", "scope missing", "\"read\"");
    let shop = json!({ "aud": "shop", "scope": "read" });
    refused(&mut client, &sign("plain", "JWT", shop.clone()), "28000", "audience not accepted", "\"app\"");

    for aud in [json!("shop"), json!(["other", "till"])] {
        accepted(&mut client, &sign("strict", "at+jwt", json!({ "aud": aud, "scope": "write read" })));
    }
    let good = json!({ "aud": "till", "scope": "read write" });
    refused(&mut client, &sign("strict", "JWT", good.clone()), "28000", "token type not accepted", "\"at+jwt\"");
    refused(&mut client, &sign("strict", "at+jwt", shop), "28000", "scope missing", "\"write\"");
    let app_audience = json!({ "aud": "app", "scope": "read write" });
    let words = "\"shop\" or \"till\"";
    refused(&mut client, &sign("strict", "at+jwt", app_audience), "28000", "audience not accepted", words);

    accepted(&mut client, &sign("loose", "JWT", json!({ "aud": "anything" })));
    let mut without = claims("loose", "alice");
    without.as_object_mut().expect("an object").remove("aud");
    accepted(&mut client, &key.sign(&without));
}

#[test]
fn each_provider_has_algorithms_of_its_own() {
    let secret = SigningKey::generate(Alg::Hs256, "k");
    let key = SigningKey::generate(Alg::Rs256, "k");
    let providers = json!([
        { "issuer": "secret", "jwks": jwks(&[&secret]), "allowed_algorithms": "HS256" },
        { "issuer": "public", "jwks": jwks(&[&key]), "allowed_algorithms": ["RS256", "ES256"] },
        { "issuer": "plain", "jwks": jwks(&[&key]) },
    ]);
    let mut client = app_with(&providers, &[("allowed_algorithms", "ES256")]).connect();
    accepted(&mut client, &token(&secret, "secret"));
    accepted(&mut client, &token(&key, "public"));
    for (token, words) in [
        (token(&secret, "public"), "must be one of RS256, ES256."),
        (token(&key, "secret"), "must be one of HS256."),
        (token(&key, "plain"), "must be one of ES256."),
    ] {
        refused(&mut client, &token, "28000", "algorithm not allowed", words);
    }
}

#[test]
fn each_provider_has_a_role_claim_of_its_own() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let keys = jwks(&[&key]);
    let providers = json!([
        { "issuer": "nested", "jwks": keys, "role_claim": "realm_access.roles" },
        { "issuer": "listed", "jwks": keys, "role_claim": ["https://x.example/a.b", "roles"] },
        { "issuer": "plain", "jwks": keys },
    ]);
    let mut client = app_with(&providers, &[("role_claim", "grp")]).connect();
    for (iss, expected) in [("nested", "inner"), ("listed", "spaced"), ("plain", "plain")] {
        let claims = changed(
            iss,
            json!({
                "role": "default", "grp": "plain", "realm_access": { "roles": ["inner"] },
                "https://x.example/a.b": { "roles": ["spaced"] },
            }),
        );
        accepted(&mut client, &key.sign(&claims));
        for role in ["default", "plain", "inner", "spaced"] {
            let has: bool = client.query_one("SELECT auth.has_role($1)", &[&role]).expect("has_role").get(0);
            assert_eq!(has, role == expected, "{iss}: {role}");
        }
    }
}

/// As Microsoft Entra writes it: an issuer for each tenant, under the same keys.
#[test]
fn an_issuer_can_have_a_place_for_its_tenant() {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Rs256, "k"));
    issuer.publish(&[&key]);
    let entry = |more: Value| {
        let mut entry = json!({ "issuer": format!("{}/{{tid}}/v2.0", issuer.url()), "jwks_uri": issuer.jwks_uri() });
        entry.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!([entry])
    };
    let token =
        |in_iss: &str, tid: &str| key.sign(&changed(&format!("{}/{in_iss}/v2.0", issuer.url()), json!({ "tid": tid })));
    let mut client = app_with(&entry(json!({ "any": true })), &[]).connect();
    accepted(&mut client, &token("1-a", "1-a"));
    accepted(&mut client, &token("2-b", "2-b"));
    refused(
        &mut client,
        &token("1-a", "2-b"),
        "28000",
        "issuer not accepted",
        "Claim \"tid\" must be what \"iss\" has",
    );
    refused(&mut client, &token("1/a", "1/a"), "28000", "issuer not accepted", "{tid}");
    let mut client = app_with(&entry(json!({ "required_claims": { "tid": ["1-a", "3-c"] } })), &[]).connect();
    accepted(&mut client, &token("1-a", "1-a"));
    refused(&mut client, &token("2-b", "2-b"), "28000", "required claim missing", "\"1-a\" or \"3-c\"");
    let app = App::new(&NOT_PRELOADED, &[]);
    for (name, value) in
        [("providers", entry(json!({})).to_string()), ("issuer", format!("{}/{{tid}}/v2.0", issuer.url()))]
    {
        let error = app.try_set(name, &value).expect_err("what may be in the place is not said");
        assert_eq!(error.sqlstate, "22023", "{name}: {error:?}");
    }
}

#[test]
fn providers_and_the_plain_issuer_go_together() {
    let (plain_key, own_key) = (SigningKey::generate(Alg::Es256, "k"), SigningKey::generate(Alg::Es256, "k"));
    let providers = json!([
        { "issuer": "own", "jwks": jwks(&[&own_key]), "audience": "shop" },
        { "issuer": "sourceless" },
    ]);
    let settings =
        [("issuer", "plain, own"), ("jwks", &*jwks(&[&plain_key]).to_string()), ("jwks_uri", "https://127.0.0.1:1/")];
    let mut client = app_with(&providers, &settings).connect();
    accepted(&mut client, &token(&plain_key, "plain"));
    accepted(&mut client, &own_key.sign(&changed("own", json!({ "aud": "shop" }))));
    // The entry of the array is the stricter one, and it alone counts.
    refused(&mut client, &token(&own_key, "own"), "28000", "audience not accepted", "\"shop\"");
    refused(&mut client, &token(&plain_key, "own"), "28000", "signature invalid", "");
    // Keys are not inherited: a provider without a source has none.
    refused(&mut client, &token(&plain_key, "sourceless"), "55000", "no key source configured", "\"sourceless\"");
}

#[test]
fn one_provider_that_is_down_does_not_hurt_another() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let (up, down) = (Issuer::start(), Issuer::start());
    up.publish(&[&key]);
    down.set_fault(pg_test::Fault::Status(503));
    let mut client = app_with(&json!([{ "issuer": up.url() }, { "issuer": down.url() }]), &[]).connect();
    unavailable(&mut client, &token(&key, down.url()), "answered 503.");
    accepted(&mut client, &token(&key, up.url()));
    unavailable(&mut client, &token(&key, down.url()), "answered 503.");
    accepted(&mut client, &token(&key, up.url()));
    assert_eq!((up.requests().jwks, down.requests().discovery), (1, 1));
}
