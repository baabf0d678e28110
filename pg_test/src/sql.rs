//! Statements that a test expects to succeed or to fail.

use parking_lot::Mutex;
use postgres::Client;
use postgres::types::FromSqlOwned;

use crate::{PgError, pg_error};

/// Runs statements that must succeed.
#[track_caller]
pub fn run(client: &mut Client, statements: &str) {
    client.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

/// Runs statements that grant SET on a parameter. PostgreSQL does not bear two such grants on one parameter at once.
#[track_caller]
pub fn run_with_grants(client: &mut Client, statements: &str) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    run(client, statements);
}

/// Runs statements that must fail.
#[track_caller]
pub fn refused(client: &mut Client, statements: &str) -> PgError {
    match client.batch_execute(statements) {
        Ok(()) => panic!("{statements} succeeded"),
        Err(error) => pg_error(&error),
    }
}

/// The one value of a query.
#[track_caller]
pub fn value<T: FromSqlOwned>(client: &mut Client, query: &str) -> T {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}
