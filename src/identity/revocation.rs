//! Tokens that were taken back: the table `auth.revocations`, looked at for one identity.
//!
//! Sessions learn of a change with the commit that makes it: a trigger announces it as a change of the table, of which
//! PostgreSQL tells every session of the database and every standby. Until then nobody reads the table.

use std::cell::Cell;

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::digest::Digest;
use pg_jwks_core::policy::revocation::{Entry, Subject};
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;

use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::from_postgres;
use crate::pg::encoding::{server_encoded, utf8};
use crate::pg::keyed_table::{self, KeyedTable, Row};

/// The table, as far as this session knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Nobody has looked since something changed.
    Unknown,
    /// The database has none.
    Missing,
    /// The one with this OID, without rows.
    Void(pg_sys::Oid),
    /// This one.
    Found(Found),
}

/// The table that was found.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    table: KeyedTable,
    columns: Columns,
}

static TABLE: BackendLocal<Cell<Table>> = BackendLocal::new(Cell::new(Table::Unknown));

/// How often the table may have changed.
static GENERATION: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

/// Another number after each change of the revocations that this session has learnt of. It never falls.
#[inline]
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Listens to changes. Called once, when the library is loaded.
pub fn watch() {
    keyed_table::listen(|relation| {
        let concerns_us = match TABLE.get() {
            Table::Void(table) => relation == pg_sys::InvalidOid || relation == table,
            Table::Found(found) => relation == pg_sys::InvalidOid || relation == found.table.relation(),
            Table::Unknown | Table::Missing => true,
        };
        if concerns_us {
            TABLE.set(Table::Unknown);
            GENERATION.set(GENERATION.get().wrapping_add(1));
        }
    });
}

/// Whether a token of these claims and this user is still good: the error is that it was revoked. `token` is its digest, if
/// it is known.
/// Reads the catalogue and the table; raises if they cannot be read.
pub fn check(claims: &ClaimSet, user: Option<&str>, token: Option<&Digest>) -> Result<(), Rejection> {
    let Some(found) = found() else { return Ok(()) };
    let Some(table) = found.table.open() else { return Ok(()) };
    let subject = Subject::of(claims, user, token);
    let mut revoked_by = None;
    for key in subject.keys() {
        table.rows(&server_encoded(&key), |row| {
            if found.columns.entry(row).means(&subject) {
                revoked_by = Some(found.columns.id(row));
            }
        });
        if revoked_by.is_some() {
            break;
        }
    }
    table.close();
    match revoked_by {
        None => Ok(()),
        Some(id) => Err(Rejection::new(Reason::Revoked, format!("Entry {id} of auth.revocations means the token."))
            .publicly("The token was revoked.")),
    }
}

/// The table, if there is one with rows.
fn found() -> Option<Found> {
    if TABLE.get() == Table::Unknown {
        TABLE.set(looked_up());
    }
    match TABLE.get() {
        Table::Found(found) => Some(found),
        Table::Unknown | Table::Missing | Table::Void(_) => None,
    }
}

fn looked_up() -> Table {
    // What looking brings to light of changes is older than what it finds.
    if let Some(void) = keyed_table::void_table(c"revocations") {
        return Table::Void(void);
    }
    match KeyedTable::find(c"revocations", c"key") {
        Some(table) => Table::Found(Found { table, columns: Columns::of(table) }),
        None => Table::Missing,
    }
}

/// The numbers of the table's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Columns {
    id: i16,
    token_hash: i16,
    subject: i16,
    session: i16,
    token_id: i16,
    issuer: i16,
    issued_before: i16,
}

impl Columns {
    fn of(table: KeyedTable) -> Self {
        Self {
            id: table.column(c"id"),
            token_hash: table.column(c"token_hash"),
            subject: table.column(c"subject"),
            session: table.column(c"session"),
            token_id: table.column(c"token_id"),
            issuer: table.column(c"issuer"),
            issued_before: table.column(c"issued_before"),
        }
    }

    fn id(&self, row: &Row) -> i64 {
        row.datum(self.id).map_or(0, |id| id.value() as i64)
    }

    /// A text that no claim can be equal to stays one that is equal to none.
    fn entry(&self, row: &Row) -> Entry {
        let text = |column| {
            let bytes = row.bytes(column)?;
            Some(utf8(&bytes).map_or_else(|| "\0".to_owned(), |text| text.into_owned()))
        };
        Entry {
            token: row.bytes(self.token_hash),
            user: text(self.subject),
            session: text(self.session),
            token_id: text(self.token_id),
            issuer: text(self.issuer),
            issued_before: row.datum(self.issued_before).map(|moment| from_postgres(moment.value() as i64)),
        }
    }
}
