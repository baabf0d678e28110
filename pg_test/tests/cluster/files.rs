//! Keys without a network.

use pg_test::{Alg, SigningKey, jwks};

use crate::app::{App, CLUSTER, accepted, key_unknown, last_error, refresh, token};

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
    let name = path.to_string_lossy().into_owned();
    for entry in std::fs::read_dir(stored).into_iter().flatten().flatten() {
        assert!(!std::fs::read_to_string(entry.path()).unwrap_or_default().contains(&name));
    }
}

#[test]
fn the_monitoring_queries_of_the_readme_run() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md");
    let section = readme.split("### Monitoring").nth(1).expect("the section");
    let queries = section.split("```sql").nth(1).and_then(|rest| rest.split("```").next()).expect("queries");
    let app = App::new(&CLUSTER, &[]);
    CLUSTER.client().batch_execute(&format!("GRANT pg_monitor TO {}", app.role())).expect("GRANT");
    app.connect().batch_execute(queries).expect("queries that run");
}
