//! Who owns what, and who may do what, by PostgreSQL's catalogues.

use pgrx::pg_sys;
use pgrx::pg_sys::SysCacheIdentifier::{DATABASEOID, PROCOID, TYPEOID};

use super::datum::c_text;

/// Whether the role is a superuser.
pub fn is_superuser(role: pg_sys::Oid) -> bool {
    // SAFETY: a role that does not exist is none.
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether the role has the rights of the database's owner.
pub fn owns_database(role: pg_sys::Oid) -> bool {
    // SAFETY: the backend is connected to this database, which stays.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_database_ownercheck(pg_sys::MyDatabaseId, role);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, pg_sys::MyDatabaseId, role);
    }
}

/// Whether the role may let others create in the schema: its owner, superusers, and those with CREATE WITH GRANT OPTION.
pub fn may_grant_create(role: pg_sys::Oid, schema: pg_sys::Oid) -> bool {
    // The upper half of an AclMode are the grant options of the lower half.
    let mode = pg_sys::AclMode::from(pg_sys::ACL_CREATE) << (pg_sys::AclMode::BITS / 2);
    // SAFETY: the caller found the schema in the catalogue. One that is gone since is an error of PostgreSQL's.
    let result = unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        {
            pg_sys::pg_namespace_aclcheck(schema, role, mode)
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        {
            pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, schema, role, mode)
        }
    };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// Whether the role may execute a function. Nobody may execute one that is gone.
pub fn may_execute(role: pg_sys::Oid, function: pg_sys::Oid) -> bool {
    let mode = pg_sys::AclMode::from(pg_sys::ACL_EXECUTE);
    // SAFETY: the function is there: it is looked up first, and no message is taken in between.
    function_owner(function).is_some()
        && unsafe {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            let result = pg_sys::pg_proc_aclcheck(function, role, mode);
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            let result = pg_sys::object_aclcheck(pg_sys::ProcedureRelationId, function, role, mode);
            result == pg_sys::AclResult::ACLCHECK_OK
        }
}

/// Whether the role may read these columns of a relation in all rows: with SELECT, and without policies that bind it.
/// The table's owner may lift its policies, so they do not count.
pub fn may_read_all_rows(role: pg_sys::Oid, relation: pg_sys::Oid, columns: &[pg_sys::AttrNumber]) -> bool {
    let select = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
    let ok = pg_sys::AclResult::ACLCHECK_OK;
    // SAFETY: the caller holds a lock on the relation, which has these columns. Nothing is raised for policies.
    unsafe {
        let of_table = || pg_sys::pg_class_aclcheck(relation, role, select) == ok;
        let of_column = |&column| pg_sys::pg_attribute_aclcheck(relation, column, role, select) == ok;
        let unbound = || {
            pg_sys::check_enable_rls(relation, role, true) != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
                || owns_relation(role, relation)
        };
        (of_table() || columns.iter().all(of_column)) && unbound()
    }
}

/// Whether the role has the rights of a relation's owner.
///
/// # Safety
///
/// The relation must be locked.
unsafe fn owns_relation(role: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    // SAFETY: the caller's lock keeps the relation.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_class_ownercheck(relation, role);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, role);
    }
}

/// Whether initdb made the object. It belongs to the superuser; the OIDs of all else are higher.
pub fn is_of_the_system(object: pg_sys::Oid) -> bool {
    object.to_u32() < pg_sys::FirstNormalObjectId
}

/// The owner of the database.
pub fn database_owner() -> Option<pg_sys::Oid> {
    // SAFETY: a tuple of pg_database begins with this struct.
    unsafe { of_tuple(DATABASEOID, pg_sys::MyDatabaseId, |form: &pg_sys::FormData_pg_database| form.datdba) }
}

/// The owner of a function.
pub fn function_owner(function: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a tuple of pg_proc begins with this struct.
    unsafe { of_tuple(PROCOID, function, |form: &pg_sys::FormData_pg_proc| form.proowner) }
}

/// The owner of a type.
pub fn type_owner(type_: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a tuple of pg_type begins with this struct.
    unsafe { of_tuple(TYPEOID, type_, |form: &pg_sys::FormData_pg_type| form.typowner) }
}

/// What `read` finds in the catalogue's tuple of an object; `None` if there is none.
///
/// # Safety
///
/// The tuples of the cache must begin with a `T`.
unsafe fn of_tuple<T, R>(cache: pg_sys::SysCacheIdentifier::Type, object: pg_sys::Oid, read: fn(&T) -> R) -> Option<R> {
    // SAFETY: the caller promises the struct; it is read before the tuple is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache as i32, pg_sys::Datum::from(object));
        let form = pg_sys::GETSTRUCT(tuple.as_ref().map(|_| tuple)?).cast::<T>();
        let found = read(&*form);
        pg_sys::ReleaseSysCache(tuple);
        Some(found)
    }
}

/// A function as messages name it, with its schema and arguments.
pub fn function_text(function: pg_sys::Oid) -> String {
    // SAFETY: a C string in the current memory context, also for a function that is gone.
    unsafe { c_text(pg_sys::format_procedure(function)) }.unwrap_or_default()
}

/// A type as messages name it, with its schema.
pub fn type_text(type_: pg_sys::Oid) -> String {
    // SAFETY: a C string in the current memory context, also for a type that is gone.
    unsafe { c_text(pg_sys::format_type_be(type_)) }.unwrap_or_default()
}

/// A role's name.
pub fn role_text(role: pg_sys::Oid) -> String {
    // SAFETY: NULL for a role that is gone, otherwise a C string in the current memory context.
    unsafe { c_text(pg_sys::GetUserNameFromId(role, true)) }.unwrap_or_default()
}
