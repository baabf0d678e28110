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
    let has = |power: Power| powerful.iter().any(|other| other.power == power && other.role == role);
    let could_have = |power: Power| powerful.iter().any(|other| other.power == power && is_member_of(role, other.role));
    if has(Power::Superuser) {
        DatabaseRole::Superuser
    } else if could_have(Power::Superuser) {
        DatabaseRole::MemberOfSuperuser
    } else if has(Power::Replication) {
        DatabaseRole::Replication
    } else if could_have(Power::Replication) {
        DatabaseRole::MemberOfReplication
    } else if SERVER_FILE_ROLES.iter().any(|files| is_member_of(role, *files)) {
        DatabaseRole::ServerFiles
    } else if could_have(Power::CreateRole) {
        DatabaseRole::CreatesRoles
    } else {
        DatabaseRole::Plain
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

/// What makes a role one that nobody logs in to with a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Superuser,
    Replication,
    /// Up to PostgreSQL 15: later, a role that creates roles has power over those only.
    CreateRole,
}

/// A role that has a power.
struct PowerfulRole {
    /// Its OID.
    role: pg_sys::Oid,
    power: Power,
}

/// All roles that have a power, once for each.
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
            let powers = [
                (role.rolsuper, Power::Superuser),
                (role.rolreplication, Power::Replication),
                (role.rolcreaterole && cfg!(any(feature = "pg14", feature = "pg15")), Power::CreateRole),
            ];
            let has = |(has, power): (bool, Power)| has.then_some(PowerfulRole { role: role.oid, power });
            all.extend(powers.into_iter().filter_map(has));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, lock);
    }
    all
}
