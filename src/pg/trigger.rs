//! Calls of trigger functions.

use pgrx::pg_sys;

/// The table of the trigger that calls; `None` if the function is called otherwise.
///
/// # Safety
///
/// PostgreSQL must have passed the call frame.
pub unsafe fn table(fcinfo: pg_sys::FunctionCallInfo) -> Option<pg_sys::Oid> {
    // SAFETY: the context is NULL or a node, which begins with its tag; that of a trigger has an open table.
    unsafe {
        let context = (*fcinfo).context.as_ref()?;
        let is_trigger = context.type_ == pg_sys::NodeTag::T_TriggerData;
        is_trigger.then(|| (*(*(*fcinfo).context.cast::<pg_sys::TriggerData>()).tg_relation).rd_id)
    }
}
