//! libpq, the client of most drivers: what it does itself is a part of each login.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute;
use std::process::Command;
use std::sync::LazyLock;

use pg_test::process::run;

type ConnectDb = unsafe extern "C" fn(*const c_char) -> *mut c_void;
type Status = unsafe extern "C" fn(*const c_void) -> c_int;
type ErrorMessage = unsafe extern "C" fn(*const c_void) -> *const c_char;
type Finish = unsafe extern "C" fn(*mut c_void);

struct Libpq {
    connect: ConnectDb,
    status: Status,
    error: ErrorMessage,
    finish: Finish,
}

/// That of the PostgreSQL which is measured.
static LIBPQ: LazyLock<Libpq> = LazyLock::new(|| {
    let pg_config = env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    let folder = run(Command::new(pg_config).arg("--libdir"));
    let path = CString::new(format!("{}/libpq.so.5", folder.trim())).expect("a path");
    // SAFETY: libpq.so.5 has these functions, of these types, for as long as that is its name; it is never unloaded.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "{path:?} cannot be loaded");
        let function = |name: &CStr| {
            let function = libc::dlsym(library, name.as_ptr());
            assert!(!function.is_null(), "libpq has no {name:?}");
            function
        };
        Libpq {
            connect: transmute::<*mut c_void, ConnectDb>(function(c"PQconnectdb")),
            status: transmute::<*mut c_void, Status>(function(c"PQstatus")),
            error: transmute::<*mut c_void, ErrorMessage>(function(c"PQerrorMessage")),
            finish: transmute::<*mut c_void, Finish>(function(c"PQfinish")),
        }
    }
});

/// A session.
pub struct Connection(*mut c_void);

impl Connection {
    /// Connects with a connection string.
    pub fn open(settings: &str) -> Result<Self, String> {
        let settings = CString::new(settings).expect("no NUL");
        // SAFETY: a C string.
        let connection = Self(unsafe { (LIBPQ.connect)(settings.as_ptr()) });
        // SAFETY: the connection is there until it is dropped, or NULL, which libpq takes for a bad one.
        match unsafe { (LIBPQ.status)(connection.0) } {
            0 => Ok(connection),
            // SAFETY: as above; the text is a C string of the connection's, and copied.
            _ => Err(unsafe { CStr::from_ptr((LIBPQ.error)(connection.0)) }.to_string_lossy().into_owned()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the connection is there, and nobody else has it.
        unsafe { (LIBPQ.finish)(self.0) };
    }
}
