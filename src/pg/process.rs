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
