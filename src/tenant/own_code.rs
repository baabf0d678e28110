//! Which functions and types a look-up may use. It runs as the owner of the membership table, so they must be the system's,
//! a superuser's or that owner's: a cast of another role's type or a function in a view would act as the owner otherwise.

use std::ffi::c_void;
use std::ptr;

use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;

use crate::pg::list::cells;
use crate::pg::privilege::{function_owner, function_text, is_of_the_system, is_superuser, type_owner, type_text};

/// What the walk through a query looks for.
struct Search {
    owner: pg_sys::Oid,
    found: Option<String>,
}

/// The first function or type in a plan that is neither the system's nor a superuser's nor `owner`'s, in words. The plan
/// is valid afterwards, and its relations are locked, so that what runs is what was looked at.
///
/// # Safety
///
/// The plan must be one of SPI's, made of one statement.
pub unsafe fn of_others(plan: pg_sys::SPIPlanPtr, owner: pg_sys::Oid) -> Option<String> {
    let mut search = Search { owner, found: None };
    // SAFETY: the caller promises the plan. What is read of it is not kept; nothing is executed.
    unsafe {
        let source: *mut pg_sys::CachedPlanSource = cells(pg_sys::SPI_plan_get_plan_sources(plan))[0].ptr_value.cast();
        // Analyses the query again if something in it has changed, as execution would.
        pg_sys::CachedPlanGetTargetList(source, ptr::null_mut());
        let (queries, context) = ((*source).query_list.cast(), (&raw mut search).cast());
        pg_sys::query_or_expression_tree_walker(queries, Some(walk), context, 0);
    }
    search.found
}

impl Search {
    fn is_trusted(&self, owner: Option<pg_sys::Oid>) -> bool {
        owner.is_some_and(|owner| owner == self.owner || is_superuser(owner))
    }

    /// Whether the function is somebody else's.
    fn finds_function(&mut self, function: pg_sys::Oid) -> bool {
        let finds = !is_of_the_system(function) && !self.is_trusted(function_owner(function));
        if finds {
            self.found = Some(format!("function {}", function_text(function)));
        }
        finds
    }

    /// Whether the type is somebody else's: its casts and its domain's conditions are of its owner's making.
    fn finds_type(&mut self, type_: pg_sys::Oid) -> bool {
        let finds = !is_of_the_system(type_) && !self.is_trusted(type_owner(type_));
        if finds {
            self.found = Some(format!("type {}", type_text(type_)));
        }
        finds
    }

    /// # Safety
    ///
    /// A list of OIDs, or NULL.
    unsafe fn finds_type_among(&mut self, types: *mut pg_sys::List) -> bool {
        // SAFETY: the caller promises OIDs.
        unsafe { cells(types).iter().any(|cell| self.finds_type(cell.oid_value)) }
    }
}

/// Whether there is something of others' in a node or below it.
///
/// # Safety
///
/// PostgreSQL must call this, as it may raise, with a node of an analysed query or NULL, and the [`Search`].
unsafe extern "C-unwind" fn walk(node: *mut pg_sys::Node, search: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: PostgreSQL passes on what `of_others` gave it, or a part of that, and expects errors here.
    unsafe {
        pgrx_extern_c_guard(|| match (*node).type_ {
            NodeTag::T_Query => pg_sys::query_tree_walker(node.cast(), Some(walk), search, 0),
            tag => {
                has_type_of_others(node, tag, &mut *search.cast())
                    || pg_sys::check_functions_in_node(node, Some(is_function_of_others), search)
                    || pg_sys::expression_tree_walker(node, Some(walk), search)
            }
        })
    }
}

/// # Safety
///
/// PostgreSQL must call this, as it may raise, with the [`Search`].
unsafe extern "C-unwind" fn is_function_of_others(function: pg_sys::Oid, search: *mut c_void) -> bool {
    // SAFETY: PostgreSQL passes on what `walk` gave it, and expects errors here.
    unsafe { pgrx_extern_c_guard(|| (*search.cast::<Search>()).finds_function(function)) }
}

/// Whether a node by itself reads or makes values of somebody else's type.
///
/// # Safety
///
/// A node of this tag.
unsafe fn has_type_of_others(node: *mut pg_sys::Node, tag: NodeTag, search: &mut Search) -> bool {
    // SAFETY: a node's tag says which struct it is; exprType knows the expressions that are listed.
    unsafe {
        match tag {
            NodeTag::T_RangeTblFunction => {
                search.finds_type_among((*node.cast::<pg_sys::RangeTblFunction>()).funccoltypes)
            }
            NodeTag::T_TableFunc => search.finds_type_among((*node.cast::<pg_sys::TableFunc>()).coltypes),
            NodeTag::T_Var
            | NodeTag::T_Const
            | NodeTag::T_FuncExpr
            | NodeTag::T_Aggref
            | NodeTag::T_WindowFunc
            | NodeTag::T_RelabelType
            | NodeTag::T_CoerceViaIO
            | NodeTag::T_CoerceToDomain
            | NodeTag::T_ArrayCoerceExpr
            | NodeTag::T_ConvertRowtypeExpr
            | NodeTag::T_RowExpr => search.finds_type(pg_sys::exprType(node)),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            NodeTag::T_JsonExpr => search.finds_type(pg_sys::exprType(node)),
            _ => false,
        }
    }
}
