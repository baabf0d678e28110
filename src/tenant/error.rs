//! The errors of tenants.

use pg_jwks_core::policy::membership_table::MembershipTable;
use pgrx::prelude::PgSqlErrorCode;

use crate::pg::error::raise;

/// Raises 55000, or 42501 for lack of a right, if memberships cannot be read. The problem is a full sentence.
pub fn raise_no_lookup(sqlstate: PgSqlErrorCode, table: &MembershipTable, problem: String) -> ! {
    let hint =
        "Set pg_jwks.tenant_lookup to a table and its user and tenant columns, or pg_jwks.tenant_claim to a claim.";
    raise_unreadable(sqlstate, table, problem, hint)
}

/// Raises 55000 if it is not certain that the owner of the table is meant to say which tenants there are.
pub fn raise_untrusted_owner(table: &MembershipTable, owner: &str) -> ! {
    raise_unreadable(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        table,
        format!("Its owner \"{owner}\" has neither the rights of the schema's nor of the database's owner."),
        "If pg_jwks.tenant_lookup means this table, make the schema belong to its owner, or GRANT that role CREATE ON \
         SCHEMA with the grant option.",
    )
}

/// Raises 55000 if reading the table would run what is neither the system's nor a superuser's nor its owner's.
pub fn raise_code_of_others(table: &MembershipTable, object: &str) -> ! {
    raise_unreadable(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        table,
        format!("Reading it uses the {object} of another role, which would act as the table's owner."),
        "Use types and functions of the table's owner or of a superuser, or set pg_jwks.tenant_lookup to another table.",
    )
}

fn raise_unreadable(sqlstate: PgSqlErrorCode, table: &MembershipTable, problem: String, hint: &str) -> ! {
    raise(sqlstate, format!("membership table {table} cannot be read"), problem, Some(hint.into()))
}

/// Raises 55000 if the settings no longer know the issuer of the identity, and so not where its tenants are.
pub fn raise_unknown_issuer() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "tenants of the user are not known".into(),
        "The issuer of this session's identity is not configured any more.".into(),
        Some("Check pg_jwks.issuer and pg_jwks.providers.".into()),
    )
}

/// Raises 55000 if the user has several tenants, and none is chosen.
pub fn raise_no_tenant_chosen() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "no tenant chosen".into(),
        "The user belongs to several tenants.".into(),
        Some("Call auth.set_tenant() with one of auth.tenant_ids().".into()),
    )
}

/// Raises 42501 for a chosen tenant that the user has left since.
pub fn raise_no_longer_member() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "user is no longer a member of the chosen tenant".into(),
        "The membership ended after the choice.".into(),
        Some("Call auth.set_tenant() with one of auth.tenant_ids(), or with NULL.".into()),
    )
}

/// Raises 42501 for a tenant that cannot be chosen. The problem is a full sentence.
pub fn raise_not_member(problem: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "user is not a member of this tenant".into(),
        problem.into(),
        Some("The function auth.tenant_ids() returns the tenants of the user.".into()),
    )
}

/// Raises 22P02 for a tenant that is no UUID.
pub fn raise_tenant_not_uuid() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
        "tenant is not a uuid".into(),
        "The function get_current_user_tenant_id() is for tenants that are.".into(),
        Some("Use auth.tenant_id(), which returns text.".into()),
    )
}
