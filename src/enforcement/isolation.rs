//! Isolated tables stay isolated (`pg_jwks.protect_isolation`): schema tools drop policies and switch row security off
//! without asking, and every tenant's rows are then everybody's. `auth.enable_tenant_isolation()` and
//! `auth.disable_tenant_isolation()` turn the setting off for themselves.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::error;
use crate::pg::policy::{Change, Policy, changes, named, table_name, tables_with};
use crate::settings;

/// The policy of `auth.enable_tenant_isolation()`.
const POLICY: &str = "tenant_isolation";

/// How that policy's comment begins, before a JSON object.
const NOTE: &str = "Made by auth.enable_tenant_isolation. Before: ";

/// Raises 55006 for a command that would take the isolation of a table away, or this extension from isolated tables.
///
/// # Safety
///
/// The command must be a complete one.
pub unsafe fn protect(command: *mut pg_sys::Node) {
    if !settings::protects_isolation() {
        return;
    }
    // SAFETY: the caller promises the command.
    let Some(change) = (unsafe { changes(command) }) else { return };
    match change {
        Change::Policy { table, policy, comment } if policy == POLICY => {
            let is_same = |policy: &Policy| comment.is_some() && comment == policy.comment;
            if isolation(table).is_some_and(|policy| !is_same(&policy)) {
                raise_isolated(table, "This statement would change or drop policy tenant_isolation.");
            }
        }
        Change::RowSecurity { table } if isolation(table).is_some() => {
            raise_isolated(table, "This statement would switch row-level security off, or no longer force it.");
        }
        Change::DropExtensions { names } if names.iter().any(|name| name == "pg_jwks") => {
            if let Some(table) = tables_with(POLICY).into_iter().find(|table| isolation(*table).is_some()) {
                raise_isolated(
                    table,
                    "This statement would drop the policy and leave row-level security on, so that nobody sees a row.",
                );
            }
        }
        _ => {}
    }
}

fn isolation(table: pg_sys::Oid) -> Option<Policy> {
    named(table, POLICY).filter(|policy| policy.comment.as_deref().is_some_and(is_of_ours))
}

fn is_of_ours(comment: &str) -> bool {
    comment.strip_prefix(NOTE).is_some_and(|before| before.starts_with('{') && before.ends_with('}'))
}

fn raise_isolated(table: pg_sys::Oid, detail: &str) -> ! {
    let (name, literal) = table_name(table);
    error::raise(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("table {name} is isolated by tenant"),
        detail.into(),
        Some(format!(
            "SELECT auth.disable_tenant_isolation({literal}); undoes it. To run the statement all the same: SET \
             pg_jwks.protect_isolation = off."
        )),
    )
}
