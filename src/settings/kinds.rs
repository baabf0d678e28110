//! The kinds of settings: how each becomes a setting of PostgreSQL, and what its value is to this library.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::panic::catch_unwind;
use std::time::Duration;

use pg_jwks_core::time::Span;
use pgrx::guc::{GucContext, GucEnum, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::PgSqlErrorCode;

use super::generation::changed;
use crate::pg::backend_local::BackendLocal;
use crate::pg::error::refuse_setting;
use crate::pg::process::is_preloading;
use crate::pg::process::is_starting_parallel_worker;

/// A row of the table as a type, so that the check hook, which is given a value and nothing else, knows its setting.
pub trait Row {
    /// The kind of the setting.
    type Setting: 'static;
    /// With the prefix `pg_jwks.`.
    const NAME: &'static CStr;
    /// A sentence: what the setting says (`short_desc` in `pg_settings`).
    const SHORT: &'static CStr;
    /// Sentences: how its value is written (`extra_desc` in `pg_settings`, and the HINT when a value is refused).
    const LONG: &'static CStr;

    /// The setting itself.
    fn setting() -> &'static Self::Setting;
}

/// Who sets it, and when.
#[derive(Clone, Copy)]
enum Context {
    /// Trust must not be up to the user: only superusers, and those to whom they GRANT SET, can change it.
    Trust,
    /// Anybody sets it in his own session.
    User,
    /// It is fixed when the server starts.
    ServerStart,
}

impl Context {
    fn guc(self) -> GucContext {
        match self {
            Self::Trust => GucContext::Suset,
            Self::User => GucContext::Userset,
            // PostgreSQL ends a session that defines a setting of the postmaster. If the library is not preloaded, such
            // a setting has no effect, but it may be in postgresql.conf all the same.
            Self::ServerStart => match is_preloading() {
                true => GucContext::Postmaster,
                false => GucContext::Sighup,
            },
        }
    }
}

/// A setting of type string. What `parse` does not accept is refused when it is set; its error is the DETAIL, a full
/// sentence.
pub struct StringSetting<T> {
    value: GucSetting<Option<CString>>,
    parse: fn(&str) -> Result<T, String>,
    context: Context,
    flags: GucFlags,
    beside: BackendLocal<Cell<Option<BesideOthers>>>,
}

/// Whether a text fits the other settings in force. The error is a full sentence, and a hint.
pub type BesideOthers = fn(&str) -> Result<(), [String; 2]>;

impl<T: 'static> StringSetting<T> {
    /// A setting with its default. An empty text must be accepted if there is no default.
    pub const fn new(default: Option<&'static CStr>, parse: fn(&str) -> Result<T, String>) -> Self {
        let value = GucSetting::<Option<CString>>::new(default);
        Self {
            value,
            parse,
            context: Context::Trust,
            flags: GucFlags::empty(),
            beside: BackendLocal::new(Cell::new(None)),
        }
    }

    /// The same, shown to superusers and members of `pg_read_all_settings` only: its value can hold shared secrets.
    pub const fn secret(mut self) -> Self {
        self.flags = GucFlags::SUPERUSER_ONLY;
        self
    }

    /// The same, fixed when the server starts.
    pub const fn fixed_at_start(mut self) -> Self {
        self.context = Context::ServerStart;
        self
    }

    /// Refuses from now on what does not fit the other settings, where one is SET in a session. Elsewhere it depends on the
    /// order in which PostgreSQL applies them what is in force at that moment.
    pub fn fit(&self, beside: BesideOthers) {
        self.beside.set(Some(beside));
    }

    /// The text in force; empty if the setting is unset.
    pub fn text(&self) -> String {
        self.value.get().and_then(|value| value.into_string().ok()).unwrap_or_default()
    }

    /// What `parse` made of the text in force.
    pub fn get(&self) -> T {
        (self.parse)(&self.text()).unwrap_or_else(|problem| unreachable!("the check hook accepted it: {problem}"))
    }

    /// Defines the setting.
    pub fn define<R: Row<Setting = Self>>() {
        let Self { value, context, flags, .. } = R::setting();
        let check = Some(check_string::<R, T> as _);
        // SAFETY: the hooks contain their panics and raise nothing.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                R::NAME,
                R::SHORT,
                R::LONG,
                value,
                context.guc(),
                *flags,
                check,
                Some(assigned_string),
                None,
            );
        }
    }
}

/// A setting of type integer, in a unit.
pub struct IntegerSetting<U> {
    value: GucSetting<i32>,
    range: RangeInclusive<i32>,
    context: Context,
    unit: PhantomData<U>,
}

impl<U: Unit> IntegerSetting<U> {
    /// A setting with its default and what can be set.
    pub const fn new(default: i32, range: RangeInclusive<i32>) -> Self {
        let value = GucSetting::<i32>::new(default);
        Self { value, range, context: Context::Trust, unit: PhantomData }
    }

    /// The same, fixed when the server starts.
    pub const fn fixed_at_start(mut self) -> Self {
        self.context = Context::ServerStart;
        self
    }

    /// The value in force.
    pub fn get(&self) -> U::Value {
        U::value(self.value.get())
    }

    /// Defines the setting.
    pub fn define<R: Row<Setting = Self>>() {
        let Self { value, range, context, .. } = R::setting();
        // SAFETY: the assign hook cannot panic and raises nothing.
        unsafe {
            GucRegistry::define_int_guc_with_hooks(
                R::NAME,
                R::SHORT,
                R::LONG,
                value,
                *range.start(),
                *range.end(),
                context.guc(),
                U::FLAG,
                None,
                Some(assigned_integer),
                None,
            );
        }
    }
}

/// The unit of an integer.
pub trait Unit: 'static {
    /// What a number of units is.
    type Value;
    /// What PostgreSQL calls the unit.
    const FLAG: GucFlags;

    /// The value of this number of units.
    fn value(number: i32) -> Self::Value;
}

/// Seconds.
pub enum Seconds {}

impl Unit for Seconds {
    type Value = Span;
    const FLAG: GucFlags = GucFlags::UNIT_S;

    fn value(number: i32) -> Span {
        Span::from_seconds(number.into())
    }
}

/// Milliseconds, of which no setting takes a negative number.
pub enum Milliseconds {}

impl Unit for Milliseconds {
    type Value = Duration;
    const FLAG: GucFlags = GucFlags::UNIT_MS;

    fn value(number: i32) -> Duration {
        Duration::from_millis(number.try_into().unwrap_or(0))
    }
}

/// Kilobytes, of which no setting takes a negative number. The value is in bytes.
pub enum Kilobytes {}

impl Unit for Kilobytes {
    type Value = usize;
    const FLAG: GucFlags = GucFlags::UNIT_KB;

    fn value(number: i32) -> usize {
        Count::value(number).saturating_mul(1024)
    }
}

/// How many, never negative.
pub enum Count {}

impl Unit for Count {
    type Value = usize;
    const FLAG: GucFlags = GucFlags::empty();

    fn value(number: i32) -> usize {
        number.try_into().unwrap_or(0)
    }
}

/// A setting of type bool.
pub struct BoolSetting {
    value: GucSetting<bool>,
    context: Context,
}

impl BoolSetting {
    /// A setting with its default.
    pub const fn new(default: bool) -> Self {
        Self { value: GucSetting::<bool>::new(default), context: Context::Trust }
    }

    /// The same, left to everybody: no trust depends on it.
    pub const fn for_anybody(mut self) -> Self {
        self.context = Context::User;
        self
    }

    /// The value in force.
    pub fn get(&self) -> bool {
        self.value.get()
    }

    /// Defines the setting.
    pub fn define<R: Row<Setting = Self>>() {
        let Self { value, context } = R::setting();
        let (context, flags) = (context.guc(), GucFlags::empty());
        // SAFETY: the assign hook cannot panic and raises nothing.
        unsafe {
            GucRegistry::define_bool_guc_with_hooks(
                R::NAME,
                R::SHORT,
                R::LONG,
                value,
                context,
                flags,
                None,
                Some(assigned_bool),
                None,
            );
        }
    }
}

/// A setting of type enum.
pub struct EnumSetting<T: GucEnum>(GucSetting<T>);

impl<T: GucEnum + 'static> EnumSetting<T> {
    /// A setting with its default.
    pub const fn new(default: T) -> Self {
        Self(GucSetting::<T>::new(default))
    }

    /// The value in force.
    pub fn get(&self) -> T {
        self.0.get()
    }

    /// Defines the setting.
    pub fn define<R: Row<Setting = Self>>() {
        let (context, flags) = (Context::Trust.guc(), GucFlags::empty());
        let Self(value) = R::setting();
        // SAFETY: the assign hook cannot panic and raises nothing.
        unsafe {
            GucRegistry::define_enum_guc_with_hooks(
                R::NAME,
                R::SHORT,
                R::LONG,
                value,
                context,
                flags,
                None,
                Some(assigned_integer),
                None,
            );
        }
    }
}

/// The check hook of a setting of type string.
///
/// # Safety
///
/// As PostgreSQL calls it: `value` points to NULL or to a C string.
unsafe extern "C-unwind" fn check_string<R: Row<Setting = StringSetting<T>>, T: 'static>(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the caller vouches for the pointer, and the text is read during the call only.
    let Some(text) = (unsafe { (*value).as_ref().map(|first| CStr::from_ptr(first)) }) else { return true };
    let is_set_in_session = source == pg_sys::GucSource::PGC_S_SESSION && !is_starting_parallel_worker();
    let beside = R::setting().beside.get().filter(|_| is_set_in_session);
    let fits = readable(text, R::setting().parse)
        .map_err(|detail| [detail, R::LONG.to_string_lossy().into_owned()])
        .and_then(|()| beside.map_or(Ok(()), |beside| beside(&text.to_string_lossy())));
    let Err([detail, hint]) = fits else { return true };
    // The message does not repeat the value: it can be a secret.
    let message = format!("invalid value for parameter \"{}\"", R::NAME.to_string_lossy());
    let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    // It raises when PostgreSQL is out of memory; the value is refused all the same.
    let _ = catch_unwind(|| refuse_setting(code, &message, &detail, &hint));
    false
}

fn readable<T>(text: &CStr, parse: fn(&str) -> Result<T, String>) -> Result<(), String> {
    let text = text.to_str().map_err(|_| "The value is not UTF-8.")?;
    // A panic must not reach PostgreSQL's C code, which would not expect it here.
    let parsed = catch_unwind(|| parse(text).map(drop));
    parsed.unwrap_or_else(|_| Err("The value cannot be read.".into()))
}

extern "C-unwind" fn assigned_string(_value: *const c_char, _extra: *mut c_void) {
    changed();
}

extern "C-unwind" fn assigned_integer(_value: i32, _extra: *mut c_void) {
    changed();
}

extern "C-unwind" fn assigned_bool(_value: bool, _extra: *mut c_void) {
    changed();
}
