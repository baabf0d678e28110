//! A table of the extension's own, read by its key as it is committed by now, whatever the transaction's snapshot shows and
//! whoever the current user is.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::datum::text_datum;

/// A row that was found: its values, which live as long as the row is looked at.
pub struct Row<'r> {
    values: &'r [pg_sys::Datum],
    nulls: &'r [bool],
}

impl Row<'_> {
    /// The value of a column by its number, counted from 1; `None` if it is NULL.
    pub fn datum(&self, column: i16) -> Option<pg_sys::Datum> {
        let index = usize::try_from(column - 1).ok()?;
        (!*self.nulls.get(index)?).then(|| self.values[index])
    }

    /// The bytes of a column of type text or bytea, copied; `None` if it is NULL.
    pub fn bytes(&self, column: i16) -> Option<Vec<u8>> {
        // SAFETY: the caller asks for a column of variable length; the value is in the row, and the copy without toast
        // lives in the current memory context.
        self.datum(column).map(|datum| unsafe {
            let plain = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            pgrx::varlena_to_byte_slice(plain).to_vec()
        })
    }
}

/// A table of the extension and the index of its key, a column of type text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyedTable {
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    key: i16,
}

impl KeyedTable {
    /// The table of this name in schema `auth` of the database, if it is the extension's; `key` is the column of its key.
    pub fn find(name: &CStr, key: &CStr) -> Option<Self> {
        // SAFETY: looks names up in the catalogue; what is not there gives an invalid OID.
        unsafe {
            let extension = valid(pg_sys::get_extension_oid(c"pg_jwks".as_ptr(), true))?;
            let schema = valid(pg_sys::get_namespace_oid(c"auth".as_ptr(), true))?;
            let relation = valid(pg_sys::get_relname_relid(name.as_ptr(), schema))?;
            if pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation) != extension {
                return None;
            }
            let key = pg_sys::get_attnum(relation, key.as_ptr());
            index_of(relation, key).map(|index| Self { relation, index, key })
        }
    }

    /// The OID of the table.
    pub fn relation(self) -> pg_sys::Oid {
        self.relation
    }

    /// The number of a column; 0, which no row has, if there is none of this name.
    pub fn column(self, name: &CStr) -> i16 {
        // SAFETY: looks a name up in the catalogue.
        unsafe { pg_sys::get_attnum(self.relation, name.as_ptr()) }
    }

    /// Opens it as a query does that reads it; `None` if it is gone. Raises what that raises.
    pub fn open(self) -> Option<OpenTable> {
        // SAFETY: a table that is gone gives NULL.
        let relation = unsafe { pg_sys::try_table_open(self.relation, LOCK) };
        (!relation.is_null()).then_some(OpenTable { table: self, relation })
    }
}

const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// A table that is open, until [`OpenTable::close`] or the end of a transaction that fails.
#[must_use]
pub struct OpenTable {
    table: KeyedTable,
    relation: pg_sys::Relation,
}

impl OpenTable {
    /// Calls `read` with each row of this key that is committed by now, or was made by the transaction in progress. Raises
    /// what reading a table raises.
    ///
    /// A snapshot of the transaction would miss what was committed since; one of the catalogue, taken anew for each row,
    /// does not, and leaves no trace for serializable transactions.
    pub fn rows(&self, key: &[u8], mut read: impl FnMut(&Row)) {
        const EQUAL: pg_sys::StrategyNumber = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
        // SAFETY: the table is open, and its index is that of `find`, which stays while the table is locked. Each tuple is
        // valid until the next one is asked for, and has as many columns as its description. An error ends the scan with
        // the transaction.
        unsafe {
            let description = (*self.relation).rd_att;
            let columns = usize::try_from((*description).natts).unwrap_or(0);
            let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); columns], vec![true; columns]);
            let mut condition = pg_sys::ScanKeyData::default();
            let equals = pg_sys::Oid::from(pg_sys::F_TEXTEQ);
            pg_sys::ScanKeyInit(&raw mut condition, self.table.key, EQUAL, equals, text_datum(key));
            condition.sk_collation = pg_sys::C_COLLATION_OID;
            let any = &raw mut pg_sys::SnapshotAnyData;
            let scan = pg_sys::systable_beginscan(self.relation, self.table.index, true, any, 1, &raw mut condition);
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() {
                    break;
                }
                if pg_sys::systable_recheck_tuple(scan, tuple) {
                    pg_sys::heap_deform_tuple(tuple, description, values.as_mut_ptr(), nulls.as_mut_ptr());
                    read(&Row { values: &values, nulls: &nulls });
                }
            }
            pg_sys::systable_endscan(scan);
        }
    }

    /// Closes it.
    pub fn close(self) {
        // SAFETY: it is open, and nobody else knows of it.
        unsafe { pg_sys::table_close(self.relation, LOCK) };
    }
}

/// The OID of the table of this name in schema `auth` if its file is empty: nobody has put a row into it since it was made,
/// truncated, or vacuumed while it had none.
///
/// What PostgreSQL keeps of a table that is open takes a new backend longer to make than all else that it does to verify a
/// token. This asks for one entry of the catalogue.
pub fn void_table(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: looks names up in the catalogue; what is not there gives an invalid OID. The table stays while it is locked.
    unsafe {
        let schema = valid(pg_sys::get_namespace_oid(c"auth".as_ptr(), true))?;
        let relation = valid(pg_sys::get_relname_relid(name.as_ptr(), schema))?;
        pg_sys::LockRelationOid(relation, LOCK);
        let file = file_of(name, schema, relation);
        let is_void = file.is_some_and(|file| {
            let storage = pg_sys::smgropen(file, NO_BACKEND);
            pg_sys::smgrnblocks(storage, pg_sys::ForkNumber::MAIN_FORKNUM) == 0
        });
        pg_sys::UnlockRelationOid(relation, LOCK);
        is_void.then_some(relation)
    }
}

/// Of a table that is not temporary (`INVALID_PROC_NUMBER`).
const NO_BACKEND: i32 = -1;

#[cfg(any(feature = "pg14", feature = "pg15"))]
type File = pg_sys::RelFileNode;
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
type File = pg_sys::RelFileLocator;

/// The file of a table, if the name is still the table's, and it is one that lasts.
///
/// # Safety
///
/// The table must be locked.
unsafe fn file_of(name: &CStr, schema: pg_sys::Oid, relation: pg_sys::Oid) -> Option<File> {
    // SAFETY: a tuple of this cache is a row of pg_class, which stays until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELNAMENSP as i32;
        let tuple = pg_sys::SearchSysCache2(cache, pg_sys::Datum::from(name.as_ptr()), schema.into());
        if tuple.is_null() {
            return None;
        }
        let row = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple);
        let lasts = row.relkind as u8 == pg_sys::RELKIND_RELATION
            && row.relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && row.oid == relation;
        let number = row.relfilenode;
        let tablespace = valid(row.reltablespace).unwrap_or(pg_sys::MyDatabaseTableSpace);
        pg_sys::ReleaseSysCache(tuple);
        (lasts && number != pg_sys::InvalidOid).then_some(file(tablespace, number))
    }
}

fn file(tablespace: pg_sys::Oid, number: pg_sys::Oid) -> File {
    // SAFETY: the variable has been set by the time that a transaction begins.
    let database = unsafe { pg_sys::MyDatabaseId };
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    return File { spcNode: tablespace, dbNode: database, relNode: number };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    return File { spcOid: tablespace, dbOid: database, relNumber: number };
}

fn valid(oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The index of a table whose first column is this one.
///
/// # Safety
///
/// The table must exist, in the catalogue as the transaction sees it.
unsafe fn index_of(relation: pg_sys::Oid, column: i16) -> Option<pg_sys::Oid> {
    // SAFETY: the caller promises the table, which stays while it is locked, and so do its indexes.
    unsafe {
        let table = pg_sys::table_open(relation, LOCK);
        let found = oids(pg_sys::RelationGetIndexList(table)).into_iter().find(|index| {
            let index = pg_sys::index_open(*index, LOCK);
            let first = (*(*index).rd_index).indkey.values.as_slice(1)[0];
            pg_sys::index_close(index, LOCK);
            first == column
        });
        pg_sys::table_close(table, LOCK);
        found
    }
}

/// # Safety
///
/// It must be NULL or a list of OIDs.
unsafe fn oids(list: *mut pg_sys::List) -> Vec<pg_sys::Oid> {
    // SAFETY: the caller promises a list, whose length says how many elements there are.
    unsafe {
        let Some(list) = list.as_ref() else { return Vec::new() };
        let length = usize::try_from(list.length).unwrap_or(0);
        (0..length).map(|index| (*list.elements.add(index)).oid_value).collect()
    }
}

/// Is told the OID of a table that has changed; invalid for all. Must not raise, allocate or look into the catalogue.
pub type Listener = fn(pg_sys::Oid);

/// Tells `listener` of each change of a table's definition, and of each change that is announced by [`announce`].
pub fn listen(listener: Listener) {
    let listener = pg_sys::Datum::from(listener as *const () as usize);
    // SAFETY: the callback takes for a listener what is passed here, and neither raises nor unwinds.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), listener) };
}

/// # Safety
///
/// PostgreSQL must call this as [`listen`] asked for.
unsafe extern "C-unwind" fn changed(listener: pg_sys::Datum, relation: pg_sys::Oid) {
    // SAFETY: `listen` made the datum from a function of this type.
    let listener = unsafe { std::mem::transmute::<*mut std::ffi::c_void, Listener>(listener.cast_mut_ptr()) };
    listener(relation);
}

/// Tells all sessions of the database that rows of a table have changed, once the transaction in progress commits.
/// Standbys learn of it when they replay the commit.
pub fn announce(relation: pg_sys::Oid) {
    // SAFETY: the table exists: the caller is its trigger.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}
