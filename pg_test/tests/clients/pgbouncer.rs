//! PgBouncer in front: it cannot pass OAuth on, and need not.

use pg_test::{Cluster, Credentials, RawClient, jwks};
use postgres::NoTls;
use postgres::error::DbError;

use crate::app::{CLUSTER, ISS, KEY, token};
use crate::drivers::{Address, Driver, assert_not_logged, psql, psql_scripts};

const ONE_CONNECTION: &str = "pool_mode = transaction
default_pool_size = 1
server_login_retry = 1
verbose = 3";

#[test]
fn users_who_share_one_pooled_connection_see_own_notes_only() {
    let pooler = CLUSTER.pgbouncer("web", ONE_CONNECTION);
    let address = Address { host: pooler.host().to_str().expect("UTF-8").into(), port: pooler.port() };
    let (alice, bob) = (token("alice"), token("bob"));
    for driver in [Driver::Psycopg, Driver::Node, Driver::Tokio] {
        let seen = driver.notes(&address, &[&alice, &bob, "no.to.ken", &alice]);
        let error = "22023 JWT rejected: not base64url";
        assert_eq!(seen, [r#"["from alice"]"#, r#"["from bob"]"#, error, r#"["from alice"]"#, "[]"], "{driver:?}");
    }
    for script in psql_scripts() {
        for user in ["alice", "bob"] {
            assert_eq!(psql(script, &address, &token(user)), Ok(format!("from {user}\n")), "{script}");
        }
        psql(script, &address, "no.to.ken").expect_err("no token");
    }
    assert_not_logged(&pooler.log(), &[&alice, &bob]);
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn it_cannot_log_in_to_a_server_that_wants_a_token() {
    let server = Cluster::options()
        .setting("oauth_validator_libraries", "pg_jwks")
        .setting("pg_jwks.issuer", ISS)
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
        .start();
    server.client().batch_execute("CREATE ROLE alice LOGIN").expect("CREATE ROLE");
    let line = format!("host all all 127.0.0.1/32 oauth issuer=\"{}\" scope=\"\"\n", ISS);
    server.write_file("pg_hba.conf", &line);
    server.restart();
    let alice = token("alice");
    RawClient::connect(&server, "alice", "postgres", Credentials::Bearer(&alice)).expect("a login without a pooler");
    let pooler = server.pgbouncer("alice", ONE_CONNECTION);
    let error = pooler.config("postgres").connect(NoTls).err().expect("PgBouncer has no token");
    let message = error.as_db_error().map(DbError::message);
    let expected = "server login failed: none of the server's SASL authentication mechanisms are supported";
    assert_eq!(message, Some(expected), "{error:?}\n{}", pooler.log());
}
