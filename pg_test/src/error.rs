//! Errors as the server reported them.

use postgres::error::DbError;

/// The parts of a server error that tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgError {
    /// The five-character code.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// The detail, where there is one.
    pub detail: Option<String>,
    /// The hint, where there is one.
    pub hint: Option<String>,
}

/// What the server said; panics where the error is not the server's (a lost
/// connection, a value of the wrong type).
pub fn pg_error(error: &postgres::Error) -> PgError {
    let Some(db) = error.as_db_error() else {
        panic!("not an error that the server reported: {error:?}");
    };
    PgError::from(db)
}

impl From<&DbError> for PgError {
    fn from(said: &DbError) -> Self {
        Self {
            sqlstate: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
        }
    }
}
