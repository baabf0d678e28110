//! The membership table: found by its name, read as its owner, through plans that are kept.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::ptr;
use std::rc::Rc;

use pg_jwks_core::policy::membership_table::MembershipTable;
use pgrx::prelude::*;
use pgrx::{FromDatum, PgTryBuilder, pg_sys};

use super::as_owner::AsOwner;
use super::column::Column;
use super::{authority, error, own_code};
use crate::pg::backend_local::BackendLocal;

/// A tenant's identifier as text of the database.
pub type Tenant = Rc<[u8]>;

/// A table that was found, and the plans to read it.
struct Found {
    table: MembershipTable,
    relation: pg_sys::Oid,
    user: Column,
    tenant: Column,
    /// For all tenants of a user, and for one of them. Kept by PostgreSQL until they are freed.
    plans: [Option<pg_sys::SPIPlanPtr>; 2],
}

static FOUND: BackendLocal<RefCell<Option<Found>>> = BackendLocal::new(RefCell::new(None));
/// The relation in `FOUND`, for the callbacks.
static RELATION: BackendLocal<Cell<pg_sys::Oid>> = BackendLocal::new(Cell::new(pg_sys::InvalidOid));
/// The table may be another one by now, or have other columns.
static STALE: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(true));
static WATCHING: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(false));
static LOOKING: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(false));

/// The tenants of the user of this name, each once, in the order of their bytes; or the one of them that is `only`.
/// Raises 55000 if the table cannot be used, 42501 if its owner, or who has named it, may not read it.
pub fn tenants(table: &MembershipTable, user: Option<&[u8]>, only: Option<&[u8]>) -> Vec<Tenant> {
    let _looking = Looking::begin(table);
    let owner = owner_of_found(table);
    let (relation, columns) = FOUND.with_borrow(|found| match found {
        Some(found) => (found.relation, [found.user.number(), found.tenant.number()]),
        None => unreachable!("it was found"),
    });
    authority::require_of_owner(table, relation, owner);
    authority::require_of_setter(table, relation, &columns);
    let Some(user) = user else { return Vec::new() };
    let mut tenants = PgTryBuilder::new(|| {
        let as_owner = AsOwner::enter(owner);
        let tenants = read(table, owner, user, only);
        as_owner.leave();
        tenants
    })
    .catch_when(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, |error| match error {
        pg_sys::panic::CaughtError::PostgresError(ref report) => error::raise_no_lookup(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            table,
            format!("Its owner reads it, and got the error: {}.", report.message()),
        ),
        other => other.rethrow(),
    })
    .execute();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}

/// A membership table that is a view may call the function that reads it.
struct Looking;

impl Looking {
    fn begin(table: &MembershipTable) -> Self {
        if LOOKING.replace(true) {
            error::raise_no_lookup(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                table,
                "Its rows depend on the current tenant themselves.".into(),
            );
        }
        Self
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        LOOKING.set(false);
    }
}

/// Makes `FOUND` be `table`, locks it against changes, and returns its owner.
fn owner_of_found(table: &MembershipTable) -> pg_sys::Oid {
    watch();
    let known = FOUND.with_borrow(|found| {
        found.as_ref().filter(|found| !STALE.get() && found.table == *table).map(|found| found.relation)
    });
    // What others did to the table shows with the lock.
    if let Some(locked) = known.and_then(lock).filter(|_| !STALE.get()) {
        return locked.owner;
    }
    // Whatever fails from here on, what was found before must not come back.
    for plan in FOUND.take().into_iter().flat_map(|former| former.plans).flatten() {
        // SAFETY: `plan` kept it, nothing else knows it, and `Looking` shows that it does not run.
        unsafe { pg_sys::SPI_freeplan(plan) };
    }
    let cannot = |problem: String| -> ! {
        error::raise_no_lookup(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, table, problem)
    };
    let missing = || -> ! { cannot("It does not exist.".into()) };
    let (relation, locked) = loop {
        STALE.set(false);
        let relation = relation_by_name(table).unwrap_or_else(|| missing());
        RELATION.set(relation);
        let locked = lock(relation);
        // Another table can have taken the name while this waited for the lock.
        match (relation_by_name(table), locked) {
            (Some(still), Some(locked)) if still == relation => break (relation, locked),
            _ => continue,
        }
    };
    match locked.kind {
        pg_sys::RELKIND_RELATION
        | pg_sys::RELKIND_PARTITIONED_TABLE
        | pg_sys::RELKIND_VIEW
        | pg_sys::RELKIND_MATVIEW
            if locked.persistence != pg_sys::RELPERSISTENCE_TEMP => {}
        _ => cannot("It is not a lasting table or view of this database.".into()),
    }
    let user = Column::of(relation, &table.user_column).unwrap_or_else(|problem| cannot(problem));
    let tenant = Column::of(relation, &table.tenant_column).unwrap_or_else(|problem| cannot(problem));
    FOUND.set(Some(Found { table: table.clone(), relation, user, tenant, plans: [None; 2] }));
    locked.owner
}

/// What must be known of a relation at each use.
struct Locked {
    owner: pg_sys::Oid,
    kind: u8,
    persistence: u8,
}

/// Locks a relation as a query does that reads it; `None` if it is gone.
fn lock(relation: pg_sys::Oid) -> Option<Locked> {
    // SAFETY: the relation is open while it is read. Closing it keeps the lock until the end of the transaction.
    unsafe {
        let opened = pg_sys::try_relation_open(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let form = opened.as_ref()?.rd_rel;
        let locked =
            Locked { owner: (*form).relowner, kind: (*form).relkind as u8, persistence: (*form).relpersistence as u8 };
        pg_sys::relation_close(opened, pg_sys::NoLock as pg_sys::LOCKMODE);
        Some(locked)
    }
}

fn relation_by_name(table: &MembershipTable) -> Option<pg_sys::Oid> {
    let (schema, name) = (CString::new(&*table.schema).ok()?, CString::new(&*table.table).ok()?);
    // SAFETY: the names are C strings.
    let relation = unsafe {
        match pg_sys::get_namespace_oid(schema.as_ptr(), true) {
            pg_sys::InvalidOid => pg_sys::InvalidOid,
            schema => pg_sys::get_relname_relid(name.as_ptr(), schema),
        }
    };
    (relation != pg_sys::InvalidOid).then_some(relation)
}

/// Asks, once in a backend, to be told of changes to tables and schemas.
fn watch() {
    if WATCHING.replace(true) {
        return;
    }
    // SAFETY: the callbacks set a variable and neither raise nor unwind.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null());
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            Some(schema_changed),
            pg_sys::Datum::null(),
        );
    }
}

extern "C-unwind" fn relation_changed(_: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || relation == RELATION.get() {
        STALE.set(true);
    }
}

extern "C-unwind" fn schema_changed(_: pg_sys::Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}

/// Reads the tenants of a user from `FOUND`, or the one of them that is `only`; the user must be `owner`. Raises 55000 if
/// anything but the table's rows would be somebody else's.
fn read(table: &MembershipTable, owner: pg_sys::Oid, user: &[u8], only: Option<&[u8]>) -> Vec<Tenant> {
    // SAFETY: SPI is used as documented: between connecting and finishing, with parameters of the plan's types in SPI's
    // memory context; what is read is copied. An error ends the (sub)transaction, and the connection with it.
    unsafe {
        pg_sys::SPI_connect();
        // A statement has a snapshot, by which the lookup must see the table; what calls without one gets a fresh one.
        let without_snapshot = !pg_sys::ActiveSnapshotSet();
        if without_snapshot {
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let tenants = match parameters(user, only) {
            Some(mut parameters) => {
                let plan = plan(only.is_some());
                if let Some(object) = own_code::of_others(plan, owner) {
                    error::raise_code_of_others(table, &object);
                }
                let all_or_one = only.is_some().into();
                pg_sys::SPI_execute_plan(plan, parameters.as_mut_ptr(), ptr::null(), true, all_or_one);
                rows()
            }
            None => Vec::new(),
        };
        if without_snapshot {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::SPI_finish();
        tenants
    }
}

/// The parameters of a plan; `None` if no row can match.
fn parameters(user: &[u8], only: Option<&[u8]>) -> Option<Vec<pg_sys::Datum>> {
    FOUND.with_borrow(|found| {
        let found = found.as_ref()?;
        let mut parameters: Vec<_> = found.user.operands(user)?.datums().collect();
        if let Some(only) = only {
            parameters.extend(found.tenant.operands(only)?.datums());
        }
        Some(parameters)
    })
}

/// The plan to read all tenants of a user, or one of them.
///
/// # Safety
///
/// SPI must be connected, and the user be the table's owner.
unsafe fn plan(one: bool) -> pg_sys::SPIPlanPtr {
    let of_found = |found: &Found| match found.plans[usize::from(one)] {
        Some(plan) => Ok(plan),
        None => {
            let mut types = found.user.types();
            let mut condition = found.user.condition(1);
            if one {
                condition += &format!(" AND {}", found.tenant.condition(types.len() + 1));
                types.extend(found.tenant.types());
            }
            Err((format!("SELECT {} FROM {} AS t WHERE {condition}", found.tenant.text(), found.table), types))
        }
    };
    let (query, mut types) = match FOUND.with_borrow(|found| found.as_ref().map(of_found)) {
        Some(Ok(plan)) => return plan,
        Some(Err(unplanned)) => unplanned,
        None => unreachable!("found before it is read"),
    };
    let Ok(query) = CString::new(query) else { unreachable!("the names have no NUL") };
    let Ok(count) = i32::try_from(types.len()) else { unreachable!("at most four") };
    // SAFETY: the caller has connected SPI; the types are as many as it is told. A generic plan is made once and not
    // five times.
    let plan = unsafe {
        let options = pg_sys::CURSOR_OPT_GENERIC_PLAN as i32;
        let plan = pg_sys::SPI_prepare_cursor(query.as_ptr(), count, types.as_mut_ptr(), options);
        pg_sys::SPI_keepplan(plan);
        plan
    };
    FOUND.with_borrow_mut(|found| {
        if let Some(found) = found {
            found.plans[usize::from(one)] = Some(plan);
        }
    });
    plan
}

/// The rows of the query that was just run, but NULLs.
///
/// # Safety
///
/// SPI must be connected, and have just run a SELECT of one text.
unsafe fn rows() -> Vec<Tenant> {
    // SAFETY: after the SELECT that the caller promises, the table has this many rows, with a text in the first column;
    // it stays until SPI is left, and the texts are copied.
    unsafe {
        let table = &*pg_sys::SPI_tuptable;
        let rows = std::slice::from_raw_parts(table.vals, pg_sys::SPI_processed as usize);
        let tenants = rows.iter().filter_map(|row| {
            let mut is_null = false;
            let datum = pg_sys::SPI_getbinval(*row, table.tupdesc, 1, &raw mut is_null);
            <&[u8]>::from_datum(datum, is_null).map(Tenant::from)
        });
        tenants.collect()
    }
}
