//! Whose word counts: which membership tables are believed, and who may name one.

use pg_jwks_core::policy::membership_table::MembershipTable;
use pgrx::pg_sys;
use pgrx::prelude::PgSqlErrorCode;

use super::error;
use crate::pg::privilege::{is_superuser, may_grant_create, may_read_all_rows, owns_database, role_text};
use crate::settings::answerable_for_tenant_lookup;

/// Raises 55000 unless the owner of the membership table decides in any case what there is under its name: otherwise
/// whoever can create tables in the schema could become the authority on tenants while the right one is missing.
pub fn require_of_owner(table: &MembershipTable, relation: pg_sys::Oid, owner: pg_sys::Oid) {
    // SAFETY: the relation is locked.
    let schema = unsafe { pg_sys::get_rel_namespace(relation) };
    if may_grant_create(owner, schema) || owns_database(owner) {
        return;
    }
    error::raise_untrusted_owner(table, &role_text(owner));
}

/// Raises 42501 unless who has named the table may read these columns of it without the look-up.
pub fn require_of_setter(table: &MembershipTable, relation: pg_sys::Oid, columns: &[pg_sys::AttrNumber]) {
    let Some(role) = answerable_for_tenant_lookup().filter(|role| !is_superuser(*role)) else { return };
    if !may_read_all_rows(role, relation, columns) {
        error::raise_no_lookup(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            table,
            format!("Role \"{}\" may have named it in pg_jwks.tenant_lookup, and cannot read it.", role_text(role)),
        );
    }
}
