//! Policies of tables, and the commands that change them.

use std::ffi::{CString, c_char};
use std::ptr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{AlterTableType, NodeTag, ObjectType};
use pgrx::{Spi, pg_sys};

use super::datum::c_text;
use super::list::nodes;

unsafe extern "C-unwind" {
    fn get_relation_policy_oid(relation: pg_sys::Oid, policy: *const c_char, missing_ok: bool) -> pg_sys::Oid;
}

/// The catalogue pg_policy.
const CATALOGUE: u32 = 3256;

/// What a command would change.
pub enum Change {
    /// A policy: it is altered, renamed, dropped, or given this comment.
    Policy { table: pg_sys::Oid, policy: String, comment: Option<String> },
    /// Row-level security of a table is switched off, or no longer forced.
    RowSecurity { table: pg_sys::Oid },
    /// Extensions are dropped.
    DropExtensions { names: Vec<String> },
}

/// A policy of a table.
pub struct Policy {
    /// Its comment.
    pub comment: Option<String>,
}

/// What a command would change of what policies depend on; `None` for anything else, and for tables that are not there.
///
/// # Safety
///
/// The command must be a complete one.
pub unsafe fn changes(command: *mut pg_sys::Node) -> Option<Change> {
    // SAFETY: a node begins with its tag, which says what it is, and its strings and lists are as the grammar makes them.
    unsafe {
        match (*command).type_ {
            NodeTag::T_AlterPolicyStmt => {
                let command = &*command.cast::<pg_sys::AlterPolicyStmt>();
                of_policy(command.table, c_text(command.policy_name)?, None)
            }
            NodeTag::T_RenameStmt => {
                let command = &*command.cast::<pg_sys::RenameStmt>();
                let is_of_policy = command.renameType == ObjectType::OBJECT_POLICY;
                is_of_policy.then(|| of_policy(command.relation, c_text(command.subname)?, None)).flatten()
            }
            NodeTag::T_CommentStmt => {
                let command = &*command.cast::<pg_sys::CommentStmt>();
                let is_of_policy = command.objtype == ObjectType::OBJECT_POLICY;
                is_of_policy.then(|| of_names(command.object.cast(), c_text(command.comment))).flatten()
            }
            NodeTag::T_DropStmt => dropped(&*command.cast::<pg_sys::DropStmt>()),
            NodeTag::T_AlterTableStmt => {
                let command = &*command.cast::<pg_sys::AlterTableStmt>();
                let unbinds = nodes(command.cmds).any(|part| {
                    let subtype = (*part.cast::<pg_sys::AlterTableCmd>()).subtype;
                    matches!(subtype, AlterTableType::AT_DisableRowSecurity | AlterTableType::AT_NoForceRowSecurity)
                });
                unbinds.then(|| table(command.relation)).flatten().map(|table| Change::RowSecurity { table })
            }
            _ => None,
        }
    }
}

/// # Safety
///
/// The command must be a complete one.
unsafe fn dropped(command: &pg_sys::DropStmt) -> Option<Change> {
    // SAFETY: the grammar makes a list of strings of each policy, and a string of each extension.
    unsafe {
        match command.removeType {
            ObjectType::OBJECT_POLICY => {
                nodes(command.objects).find_map(|object| of_names(object.cast::<pg_sys::List>(), None))
            }
            ObjectType::OBJECT_EXTENSION => {
                let names = nodes(command.objects).filter_map(|name| string(name)).collect();
                Some(Change::DropExtensions { names })
            }
            _ => None,
        }
    }
}

/// # Safety
///
/// The relation must be one of a complete command.
unsafe fn of_policy(relation: *mut pg_sys::RangeVar, policy: String, comment: Option<String>) -> Option<Change> {
    // SAFETY: the caller's promise.
    unsafe { table(relation) }.map(|table| Change::Policy { table, policy, comment })
}

/// # Safety
///
/// The names must be those of a policy in a complete command: of its table, and its own behind them.
unsafe fn of_names(names: *mut pg_sys::List, comment: Option<String>) -> Option<Change> {
    // SAFETY: the caller promises names. The copy of the list, without the last, is that of a relation.
    unsafe {
        let policy = string(nodes(names).last()?)?;
        let table_names = pg_sys::list_truncate(pg_sys::list_copy(names), (*names).length - 1);
        of_policy(pg_sys::makeRangeVarFromNameList(table_names), policy, comment)
    }
}

/// # Safety
///
/// The relation must be one of a complete command.
unsafe fn table(relation: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's promise. Without a lock the name may come to mean another table; the command then asks again.
    let table = unsafe {
        let options = pg_sys::RVROption::RVR_MISSING_OK;
        pg_sys::RangeVarGetRelidExtended(relation, pg_sys::NoLock as i32, options, None, ptr::null_mut())
    };
    (table != pg_sys::InvalidOid).then_some(table)
}

/// The policy of a table with this name.
pub fn named(table: pg_sys::Oid, policy: &str) -> Option<Policy> {
    let name = CString::new(policy).ok()?;
    // SAFETY: reads the catalogue. A policy that is not there has an invalid OID; a comment is NULL or a C string.
    unsafe {
        let policy = pg_guard_ffi_boundary(|| get_relation_policy_oid(table, name.as_ptr(), true));
        (policy != pg_sys::InvalidOid)
            .then(|| Policy { comment: c_text(pg_sys::GetComment(policy, CATALOGUE.into(), 0)) })
    }
}

/// The tables that have a policy with this name.
pub fn tables_with(policy: &str) -> Vec<pg_sys::Oid> {
    let query = "SELECT polrelid FROM pg_catalog.pg_policy WHERE polname OPERATOR(pg_catalog.=) $1::pg_catalog.name";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[policy.into()])?;
        rows.map(|row| row.get::<pg_sys::Oid>(1)).collect::<Result<Vec<_>, _>>()
    })
    .unwrap_or_default()
    .into_iter()
    .flatten()
    .collect()
}

/// A table's name with its schema, quoted where it must be, and the same as a literal.
pub fn table_name(table: pg_sys::Oid) -> (String, String) {
    // SAFETY: NULL for what is gone, otherwise C strings in the current memory context.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        let name = pg_sys::get_rel_name(table);
        if schema.is_null() || name.is_null() {
            return Default::default();
        }
        let name = pg_sys::quote_qualified_identifier(schema, name);
        (c_text(name).unwrap_or_default(), c_text(pg_sys::quote_literal_cstr(name)).unwrap_or_default())
    }
}

/// # Safety
///
/// A node.
unsafe fn string(node: *mut pg_sys::Node) -> Option<String> {
    // SAFETY: the tag says whether it is a string. PostgreSQL 15 gave strings a struct of their own.
    unsafe {
        if (*node).type_ != NodeTag::T_String {
            return None;
        }
        #[cfg(feature = "pg14")]
        return c_text((*node.cast::<pg_sys::Value>()).val.str_);
        #[cfg(not(feature = "pg14"))]
        return c_text((*node.cast::<pg_sys::String>()).sval);
    }
}
