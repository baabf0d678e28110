//! What each version does with the library and the settings of logins.

use std::env;
use std::fs;
use std::path::PathBuf;

use pg_test::{Cluster, pg_error};

const SYMBOL: &[u8] = b"_PG_oauth_validator_module_init";
const SET_VALIDATOR: &str = "ALTER SYSTEM SET oauth_validator_libraries = 'pg_jwks'";

fn exports_validator() -> bool {
    let stage = PathBuf::from(env::var_os("PG_JWKS_STAGE").expect("PG_JWKS_STAGE"));
    let library = fs::read(stage.join("pg_jwks.so")).expect("the library");
    library.windows(SYMBOL.len()).any(|window| window == SYMBOL)
}

/// There is no setting that would load the library as a validator, no authentication method that would use it, and
/// nothing in the library to be used.
#[test]
#[cfg_attr(not(before_pg18), ignore = "PostgreSQL has OAuth logins from version 18 on")]
fn a_validator_is_an_understandable_error_without_oauth() {
    let cluster = Cluster::start();
    let mut client = cluster.client();
    let set = client.batch_execute(SET_VALIDATOR).expect_err("no such setting");
    assert_eq!(pg_error(&set).message, "unrecognized configuration parameter \"oauth_validator_libraries\"");
    cluster.write_file("pg_hba.conf", "host all all all oauth issuer=https://issuer.test scope=login\n");
    let error: Option<String> =
        client.query_one("SELECT error FROM pg_hba_file_rules", &[]).expect("pg_hba_file_rules").get(0);
    assert_eq!(error.as_deref(), Some("invalid authentication method \"oauth\""));
    assert!(!exports_validator());
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn the_library_is_a_validator() {
    Cluster::start().client().batch_execute(SET_VALIDATOR).expect("ALTER SYSTEM");
    assert!(exports_validator());
}

/// The settings of logins can be there all the same: one configuration serves servers of several versions.
#[test]
fn the_settings_of_logins_are_known_everywhere() {
    let cluster = Cluster::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.authn_claim", "email")
        .setting("pg_jwks.allow_superuser_login", "on")
        .setting("pg_jwks.on_expiry", "terminate")
        .start();
    let row = cluster
        .client()
        .query_one(
            "SELECT current_setting('pg_jwks.authn_claim'), current_setting('pg_jwks.allow_superuser_login'),
                    current_setting('pg_jwks.on_expiry')",
            &[],
        )
        .expect("the settings");
    let values: Vec<String> = (0..3).map(|column| row.get(column)).collect();
    assert_eq!(values, ["email", "on", "terminate"]);
}
