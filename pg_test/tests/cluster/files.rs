//! Keys without a network.

use pg_test::app::App;
use pg_test::documents::Page;
use pg_test::login::{accepted, init, key_unknown, token};
use pg_test::wait::eventually;
use pg_test::{Alg, SigningKey, jwks};

use crate::server::{CLUSTER, last_error, preloaded, refresh, started};

const ISSUER: &str = "air-gapped";

#[test]
fn keys_from_a_file_are_read_again_when_asked_for() {
    let (old, new) = (SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Hs256, "new"));
    let path = CLUSTER.write_file("keys.json", &jwks(&[&old]).to_string());
    let uri = format!("file:{}", path.display());
    let app = App::new(
        &CLUSTER,
        &[
            ("issuer", ISSUER),
            ("jwks_uri", &uri),
            ("allowed_algorithms", "ES256, HS256"),
            ("jwks_refresh_cooldown", "1h"),
        ],
    );
    let mut session = app.connect();
    accepted(&mut session, &token(&old, ISSUER));
    key_unknown(&mut session, &token(&new, ISSUER));
    CLUSTER.write_file("keys.json", &jwks(&[&new]).to_string());
    key_unknown(&mut session, &token(&new, ISSUER));
    refresh(&mut app.admin()).expect("the file is read");
    accepted(&mut session, &token(&new, ISSUER));
    key_unknown(&mut session, &token(&old, ISSUER));
    // A file that is gone leaves the keys in force, and shared secrets are not stored anywhere else.
    std::fs::remove_file(&path).expect("removed");
    let error = refresh(&mut app.admin()).expect_err("no file");
    assert!(error.contains("cannot be read"), "{error}");
    accepted(&mut session, &token(&new, ISSUER));
    let (shown, keys) = last_error(&mut app.admin(), &format!("file \"{}", path.display()));
    assert!(shown.is_some_and(|error| error.contains("cannot be read")) && keys == 1);
    let stored = CLUSTER.data_dir().join("pg_jwks");
    for entry in std::fs::read_dir(stored).expect("the folder of stored keys") {
        let file = std::fs::read(entry.expect("a stored file").path()).expect("a stored file");
        let text = String::from_utf8_lossy(&file);
        assert!(!text.contains(&*path.to_string_lossy()), "{text}");
    }
}

/// The statement with `what` in it replaced.
#[track_caller]
fn with(statement: &str, what: &str, by: &str) -> String {
    assert!(statement.contains(what), "no {what} in {statement}");
    statement.replace(what, by)
}

#[test]
fn the_documented_statements_serve_a_server_without_a_network() {
    let cluster = started(preloaded().setting("pg_jwks.issuer", ISSUER));
    let (in_file, in_setting) = (SigningKey::generate(Alg::Es256, "file"), SigningKey::generate(Alg::Rs256, "setting"));
    let path = cluster.write_file("air-gapped.json", &jwks(&[&in_file]).to_string());
    let sql = Page::of_repository("docs/keys.md").blocks("Without a network", "sql").concat();
    let [file, setting] = sql.lines().collect::<Vec<_>>()[..] else { panic!("two statements, not {sql}") };
    let keys = in_setting.public_jwk().to_string();
    let app = App::new(&cluster, &[]);
    for (statement, key) in [
        (with(file, "/etc/postgresql/keys.json", &path.display().to_string()), &in_file),
        // It wins over pg_jwks.jwks_uri.
        (with(setting, " ... ", &keys), &in_setting),
    ] {
        cluster.client().batch_execute(&statement).expect(&statement);
        cluster.reload();
        // A new session has the new settings once the postmaster has read them.
        eventually(&statement, || init(&mut app.connect(), &token(key, ISSUER)).ok());
        accepted(&mut app.connect(), &token(key, ISSUER));
    }
    key_unknown(&mut app.connect(), &token(&in_file, ISSUER));
}

#[test]
fn the_documented_monitoring_queries_run() {
    let queries = Page::of_repository("docs/operating.md").blocks("Monitoring", "sql").concat();
    let app = App::new(&CLUSTER, &[]);
    CLUSTER.client().batch_execute(&format!("GRANT pg_monitor TO {}", app.role())).expect("GRANT");
    app.connect().batch_execute(&queries).expect("queries that run");
}
