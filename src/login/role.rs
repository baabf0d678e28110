//! What the role of a login is to the database, by itself and by membership.

use std::ffi::CStr;
use std::ptr::null_mut;

use pg_jwks_core::policy::login::DatabaseRole;
use pgrx::pg_sys;

use crate::pg::user::role_named;

/// Looks a role up. PostgreSQL authenticates within a transaction that can read the catalogue of roles.
pub fn database_role(name: &CStr) -> DatabaseRole {
    let Some(role) = role_named(name) else { return DatabaseRole::Missing };
    let powerful = powerful_roles();
    let own = powerful.iter().find(|powerful| powerful.role == role);
    let mut above = powerful.iter().filter(|powerful| is_member_of(role, powerful.role));
    match own {
        Some(PowerfulRole { superuser: true, .. }) => DatabaseRole::Superuser,
        _ if above.clone().any(|powerful| powerful.superuser) => DatabaseRole::MemberOfSuperuser,
        Some(_) => DatabaseRole::Replication,
        None if above.next().is_some() => DatabaseRole::MemberOfReplication,
        None if SERVER_FILE_ROLES.iter().any(|files| is_member_of(role, *files)) => DatabaseRole::ServerFiles,
        None => DatabaseRole::Plain,
    }
}

/// The roles of PostgreSQL's own whose members use the server's files and programs, and so become superusers.
const SERVER_FILE_ROLES: [pg_sys::Oid; 3] = [
    pg_sys::Oid::from_u32(pg_sys::ROLE_PG_READ_SERVER_FILES),
    pg_sys::Oid::from_u32(pg_sys::ROLE_PG_WRITE_SERVER_FILES),
    pg_sys::Oid::from_u32(pg_sys::ROLE_PG_EXECUTE_SERVER_PROGRAM),
];

/// Whether `member` is `role` or a member of it, directly or through others. The options of a grant (PostgreSQL 16) do
/// not matter: who has ADMIN gives himself the others.
fn is_member_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: reads the catalogue, and raises only if that cannot be read.
    unsafe { pg_sys::is_member_of_role_nosuper(member, role) }
}

/// A role that is a superuser or may replicate.
struct PowerfulRole {
    /// Its OID.
    role: pg_sys::Oid,
    /// Whether it is a superuser.
    superuser: bool,
}

/// All superusers and all roles that may replicate.
fn powerful_roles() -> Vec<PowerfulRole> {
    let mut all = Vec::new();
    // SAFETY: the catalogue is open, and locked, until the scan of it has ended; a transaction that is aborted in between
    // closes both. Each tuple is valid until the next one is asked for, and begins with the fields of its catalogue, none
    // of which up to the attributes can be NULL.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let catalogue = pg_sys::table_open(pg_sys::AuthIdRelationId, lock);
        // Without an index and with the snapshot of catalogues, as PostgreSQL itself reads shared catalogues early on.
        let scan = pg_sys::systable_beginscan(catalogue, pg_sys::InvalidOid, false, null_mut(), 0, null_mut());
        while let Some(tuple) = pg_sys::systable_getnext(scan).as_mut() {
            let role = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>();
            if role.rolsuper || role.rolreplication {
                all.push(PowerfulRole { role: role.oid, superuser: role.rolsuper });
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, lock);
    }
    all
}
