//! tokio-postgres: the notes of a token's user.

use tokio_postgres::{Client, Error, Row};

// docs/poolers.md: from here
pub async fn notes(client: &mut Client, token: &str) -> Result<Vec<Row>, Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT auth.jwt_session_init($1, true)", &[&token]).await?;
    let rows = transaction.query("SELECT body FROM note", &[]).await?;
    transaction.commit().await?;
    Ok(rows)
}
// docs/poolers.md: to here
