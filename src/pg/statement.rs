//! What a statement may do, as PostgreSQL's executor and utility commands know it.

use pgrx::pg_sys;

/// Whether a query may write: it changes rows, locks them, or makes a table of its result.
///
/// # Safety
///
/// The query must be a complete one that is about to run.
pub unsafe fn query_may_write(query: *const pg_sys::QueryDesc) -> bool {
    use pg_sys::CommandDest;
    // SAFETY: the caller promises a query that runs, so that its destination exists if it has one.
    unsafe {
        plan_may_write(query)
            || (*query)
                .dest
                .as_ref()
                .is_some_and(|to| to.mydest == CommandDest::DestIntoRel || to.mydest == CommandDest::DestTransientRel)
    }
}

/// Whether the plan of a query says that it may write: it changes rows, or locks them.
///
/// # Safety
///
/// The query must be a complete one. It may have run to its end, so that its destination is gone.
pub unsafe fn plan_may_write(query: *const pg_sys::QueryDesc) -> bool {
    // SAFETY: the caller promises a query, which has a plan.
    let plan = unsafe { &*(*query).plannedstmt };
    plan.commandType != pg_sys::CmdType::CMD_SELECT || plan.hasModifyingCTE || !plan.rowMarks.is_null()
}

/// Whether a utility command may write by itself. What runs other statements only does not: each of those counts.
///
/// # Safety
///
/// The command must be a complete one.
pub unsafe fn utility_may_write(command: *const pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: a node begins with its tag, which says what it is.
    unsafe {
        match (*command).type_ {
            T_CopyStmt => (*command.cast::<pg_sys::CopyStmt>()).is_from,
            T_CallStmt | T_DoStmt | T_ExplainStmt | T_ExecuteStmt | T_PrepareStmt | T_DeallocateStmt
            | T_DeclareCursorStmt | T_FetchStmt | T_ClosePortalStmt | T_TransactionStmt | T_VariableSetStmt
            | T_VariableShowStmt | T_ConstraintsSetStmt | T_DiscardStmt | T_LoadStmt | T_LockStmt => false,
            _ => true,
        }
    }
}

/// Whether a utility command takes changes back, or ends a transaction that has failed.
///
/// # Safety
///
/// The command must be a complete one.
pub unsafe fn is_rollback(command: *const pg_sys::Node) -> bool {
    use pg_sys::TransactionStmtKind::{TRANS_STMT_ROLLBACK, TRANS_STMT_ROLLBACK_PREPARED, TRANS_STMT_ROLLBACK_TO};
    // SAFETY: the caller's promise.
    let kind = unsafe { transaction_kind(command) };
    matches!(kind, Some(TRANS_STMT_ROLLBACK | TRANS_STMT_ROLLBACK_TO | TRANS_STMT_ROLLBACK_PREPARED))
}

/// Whether a utility command makes the changes of its transaction last.
///
/// # Safety
///
/// The command must be a complete one.
pub unsafe fn is_commit(command: *const pg_sys::Node) -> bool {
    use pg_sys::TransactionStmtKind::{TRANS_STMT_COMMIT, TRANS_STMT_PREPARE};
    // SAFETY: the caller's promise.
    matches!(unsafe { transaction_kind(command) }, Some(TRANS_STMT_COMMIT | TRANS_STMT_PREPARE))
}

/// # Safety
///
/// The command must be a complete one.
unsafe fn transaction_kind(command: *const pg_sys::Node) -> Option<pg_sys::TransactionStmtKind::Type> {
    // SAFETY: a node begins with its tag, which says what it is.
    unsafe {
        let is_of_transactions = (*command).type_ == pg_sys::NodeTag::T_TransactionStmt;
        is_of_transactions.then(|| (*command.cast::<pg_sys::TransactionStmt>()).kind)
    }
}

/// A statement that the executor has run in part already: one of a portal or cursor that goes on.
///
/// # Safety
///
/// The query must be a complete one.
pub unsafe fn goes_on(query: *const pg_sys::QueryDesc) -> bool {
    // SAFETY: the caller promises a query.
    unsafe { (*query).already_executed }
}

/// Whether a query is on tables.
///
/// # Safety
///
/// The query must be a complete one.
pub unsafe fn is_on_tables(query: *const pg_sys::QueryDesc) -> bool {
    // SAFETY: the caller promises a query, which has a plan.
    unsafe { !(*(*query).plannedstmt).relationOids.is_null() }
}

/// Lets a query run without parallel workers, whatever its plan says.
///
/// # Safety
///
/// The query must be a complete one that has not begun.
pub unsafe fn keep_to_leader(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the plan can be a cached one that others use, so the query gets a copy, in the memory of the query itself.
    unsafe {
        let plan = (*query).plannedstmt;
        if (*plan).parallelModeNeeded {
            let context = pg_sys::GetMemoryChunkContext(query.cast());
            let copy = pg_sys::MemoryContextAlloc(context, size_of::<pg_sys::PlannedStmt>());
            let copy = copy.cast::<pg_sys::PlannedStmt>();
            copy.copy_from_nonoverlapping(plan, 1);
            (*copy).parallelModeNeeded = false;
            (*query).plannedstmt = copy;
        }
    }
}
