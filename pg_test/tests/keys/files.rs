//! `file:` sources: JWKS and PEM.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, init, key_unknown, refused, token, unavailable};
use pg_test::{Alg, Authority, SigningKey, Validity, jwks};
use serde_json::json;

const ISS: &str = "https://issuer.example";

/// An application whose keys are in a file, and the file.
fn app_with_file(name: &str, contents: &str) -> (App<'static>, std::path::PathBuf) {
    let path = NOT_PRELOADED.write_file(name, contents);
    let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), ("jwks_uri", &format!("file:{}", path.display()))]);
    (app, path)
}

#[test]
fn keys_come_from_a_jwks_file() {
    let (one, two) = (SigningKey::generate(Alg::Rs512, "one"), SigningKey::generate(Alg::EdDsa, "two"));
    let (app, path) = app_with_file("two.json", &jwks(&[&one, &two]).to_string());
    let mut client = app.connect();
    accepted(&mut client, &token(&one, ISS));
    accepted(&mut client, &token(&two, ISS));
    key_unknown(&mut client, &token(&SigningKey::generate(Alg::EdDsa, "three"), ISS));
    app.set("jwks_uri", &format!("file://{}", path.display()));
    accepted(&mut app.connect(), &token(&one, ISS));
}

#[test]
fn keys_come_from_a_pem_file() {
    for alg in [Alg::Rs256, Alg::Ps384, Alg::Es256, Alg::Es384, Alg::EdDsa] {
        let key = SigningKey::generate(alg, "any");
        let (app, _) = app_with_file(&format!("{}.pem", alg.name()), &key.public_pem());
        let mut client = app.connect();
        // A PEM file has no kid, so the token may have any or none.
        accepted(&mut client, &token(&key, ISS));
        let header = json!({ "alg": alg.name() });
        accepted(&mut client, &key.sign_with(&header, &pg_test::claims(ISS, "alice")));
        let stranger = SigningKey::generate(alg, "any");
        refused(&mut client, &token(&stranger, ISS), "28000", "signature invalid", "");
    }
}

#[test]
fn a_pem_file_may_have_several_keys() {
    let (rsa, ec) = (SigningKey::generate(Alg::Rs256, "rsa"), SigningKey::generate(Alg::Es256, "ec"));
    let second_ec = SigningKey::generate(Alg::Es256, "second");
    let (app, path) = app_with_file("several.pem", &format!("\n{}\n\n{}", rsa.public_pem(), ec.public_pem()));
    let mut client = app.connect();
    accepted(&mut client, &token(&rsa, ISS));
    accepted(&mut client, &token(&ec, ISS));
    fs::write(path, format!("{}{}", ec.public_pem(), second_ec.public_pem())).expect("the file");
    // The next key is there before the issuer signs with it: nobody is locked out.
    let mut client = app.connect();
    accepted(&mut client, &token(&ec, ISS));
    accepted(&mut client, &token(&second_ec, ISS));
    let stranger = SigningKey::generate(Alg::Es256, "ec");
    refused(&mut client, &token(&stranger, ISS), "28000", "signature invalid", "");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let key = SigningKey::generate(Alg::Es256, "k");
    let certificate = Authority::new().issue("localhost", Validity::Valid);
    let folder = NOT_PRELOADED.data_dir();
    let write = |name: &str, contents: &str| NOT_PRELOADED.write_file(name, contents);
    let secret = SigningKey::from_secret(Alg::Hs256, "k", b"short");
    let unreadable = write("unreadable.json", &jwks(&[&key]).to_string());
    assert!(Command::new("chown").arg("0:0").arg(&unreadable).status().expect("chown").success());
    let fifo = folder.join("fifo.json");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let link = folder.join("link.json");
    symlink("/dev/zero", &link).expect("a link");
    for (path, words) in [
        (folder.join("missing.json"), "cannot be read: No such file"),
        (unreadable, "cannot be read: Permission denied"),
        (folder.clone(), "It is not a regular file."),
        (fifo, "It is not a regular file."),
        (link, "It is not a regular file."),
        (write("empty.json", ""), "is empty."),
        (write("page.json", "<html></html>"), "is HTML or XML, not JSON."),
        (write("garbage.json", "{\"keys\": ["), "is not a JSON object."),
        (write("array.json", "[]"), "is not a JSON object."),
        (write("keyless.json", "{}"), "has no member \"keys\"."),
        (write("none.json", "{\"keys\": []}"), "has no keys."),
        (write("large.json", &format!("{}{}", jwks(&[&key]), " ".repeat(262_144))), "is larger than 262144 bytes."),
        (write("short.json", &jwks(&[&secret]).to_string()), "shared secret shorter than 32 bytes."),
        (write("private.pem", &certificate.key_pem()), "the PEM block is neither a public key nor a certificate."),
        (write("cut.pem", &key.public_pem()[..60]), "cannot be read."),
    ] {
        let app = App::new(&NOT_PRELOADED, &[("issuer", ISS), ("jwks_uri", &format!("file:{}", path.display()))]);
        unavailable(&mut app.connect(), &token(&key, ISS), words);
        let place = format!("Keys could not be had from file \"{}\".", path.display());
        unavailable(&mut app.connect(), &token(&key, ISS), &place);
    }
}

#[test]
fn a_key_replaced_on_disk_is_picked_up_at_once() {
    for (kind, form) in [
        ("json", (|key: &SigningKey| jwks(&[key]).to_string()) as fn(&SigningKey) -> String),
        ("pem", SigningKey::public_pem),
    ] {
        let (old, new) = (SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
        let (app, path) = app_with_file(&format!("replaced.{kind}"), &form(&old));
        let mut client = app.connect();
        let old_token = token(&old, ISS);
        accepted(&mut client, &old_token);
        fs::write(path, form(&new)).expect("the file");
        accepted(&mut client, &token(&new, ISS));
        let error = init(&mut client, &old_token).expect_err("the old key is gone, cached tokens included");
        assert_eq!(error.sqlstate, "28000", "{error:?}");
    }
}

#[test]
fn a_key_withdrawn_on_disk_stops_verifying_within_the_ttl() {
    let (old, new) = (SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
    let (app, path) = app_with_file("withdrawn.json", &jwks(&[&old]).to_string());
    app.set("jwks_cache_ttl", "1s");
    let mut client = app.connect();
    let old_token = token(&old, ISS);
    accepted(&mut client, &old_token);
    fs::write(path, jwks(&[&new]).to_string()).expect("the file");
    sleep(Duration::from_millis(1100));
    key_unknown(&mut client, &old_token);
}

/// As PostgreSQL refuses a private key of its own that others can read.
#[test]
fn a_file_with_a_shared_secret_is_the_servers_alone() {
    let secret = SigningKey::generate(Alg::Hs256, "secret");
    let (app, path) = app_with_file("secret.json", &jwks(&[&secret]).to_string());
    app.set("allowed_algorithms", "HS256");
    accepted(&mut app.connect(), &token(&secret, ISS));
    let permit = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).expect("permissions");
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o666] {
        permit(mode);
        unavailable(&mut app.connect(), &token(&secret, ISS), "others may read or write it");
    }
    permit(0o400);
    accepted(&mut app.connect(), &token(&secret, ISS));
    // Public keys are for everybody.
    let public = SigningKey::generate(Alg::Es256, "public");
    let (app, path) = app_with_file("public.json", &jwks(&[&public]).to_string());
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("permissions");
    accepted(&mut app.connect(), &token(&public, ISS));
}
