//! Longer runs of the tests of load.

/// Whether `PG_JWKS_LONG=1` asks for them.
pub fn is_asked_for() -> bool {
    std::env::var_os("PG_JWKS_LONG").is_some_and(|value| value == "1")
}
