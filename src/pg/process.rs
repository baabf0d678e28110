//! Which of the server's processes this is, and when in its life.

use pgrx::pg_sys;

/// Whether the library is being loaded for all processes (`shared_preload_libraries`).
pub fn is_preloading() -> bool {
    // SAFETY: reads a flag.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Whether this is a server with other processes: a single-user server has no background workers.
pub fn has_postmaster() -> bool {
    // SAFETY: reads a flag.
    unsafe { pg_sys::IsPostmasterEnvironment }
}

/// Whether this is a parallel worker.
pub fn is_parallel_worker() -> bool {
    // SAFETY: reads a variable.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// Whether this is a parallel worker that takes over the state of its leader.
pub fn is_starting_parallel_worker() -> bool {
    // SAFETY: reads a flag.
    unsafe { pg_sys::InitializingParallelWorker }
}

/// Whether PostgreSQL is running no statement of a client's: then the client calls a function by its OID (the protocol's
/// FunctionCall).
pub fn is_outside_of_statements() -> bool {
    // SAFETY: reads a variable.
    unsafe { pg_sys::debug_query_string.is_null() }
}

/// The OID of the database that this process is connected to; 0 without one.
pub fn database() -> u32 {
    // SAFETY: reads a variable.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// The process ID of this process.
pub fn backend_pid() -> i32 {
    // SAFETY: reads a variable.
    unsafe { pg_sys::MyProcPid }
}

/// How many processes can have a [`process_number`]: known once the postmaster has read its settings.
pub fn max_backends() -> usize {
    // SAFETY: reads a variable.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0)
}

/// The number of this process among the backends and background workers, from 0; `None` before it has one, and for
/// PostgreSQL's auxiliary processes.
pub fn process_number() -> Option<usize> {
    // SAFETY: NULL until the process has its entry, or a pointer into the array of all entries.
    let number = unsafe {
        let all = pg_sys::ProcGlobal.as_ref()?.allProcs;
        (!pg_sys::MyProc.is_null()).then(|| pg_sys::MyProc.offset_from(all))?
    };
    usize::try_from(number).ok().filter(|number| *number < max_backends())
}

/// Calls `act` when this process detaches from shared memory. It must not raise or panic.
pub fn at_exit(act: fn()) {
    // SAFETY: the callback gets back what is passed here, and neither raises nor unwinds.
    unsafe { pg_sys::on_shmem_exit(Some(exiting), pg_sys::Datum::from(act as *const () as usize)) };
}

/// # Safety
///
/// PostgreSQL must call this as [`at_exit`] asked for.
unsafe extern "C-unwind" fn exiting(_code: std::ffi::c_int, act: pg_sys::Datum) {
    // SAFETY: `at_exit` made the datum from a function of this type.
    let act = unsafe { std::mem::transmute::<*mut std::ffi::c_void, fn()>(act.cast_mut_ptr()) };
    act();
}
