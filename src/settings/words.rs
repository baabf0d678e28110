//! What settings of type enum can be.

use pg_jwks_core::policy::provider;
use pgrx::guc::PostgresGucEnum;

/// `pg_jwks.token_type`: the accepted kind of token.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum TokenType {
    #[name = c"any"]
    Any,
    #[name = c"access"]
    Access,
}

impl TokenType {
    /// The word for what the core calls it.
    pub const fn of(token_type: provider::TokenType) -> Self {
        match token_type {
            provider::TokenType::Any => Self::Any,
            provider::TokenType::Access => Self::Access,
        }
    }
}

impl From<TokenType> for provider::TokenType {
    fn from(word: TokenType) -> Self {
        match word {
            TokenType::Any => Self::Any,
            TokenType::Access => Self::Access,
        }
    }
}

/// `pg_jwks.on_expiry`: what happens to a session that uses an identity past its `exp`.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum OnExpiry {
    #[name = c"error"]
    Error,
    #[name = c"terminate"]
    Terminate,
}

/// `pg_jwks.session_scope`: how long an identity may last.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum SessionScope {
    #[name = c"any"]
    Any,
    #[name = c"transaction"]
    Transaction,
}

/// `pg_jwks.audit_log`: which decisions are logged.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum AuditLog {
    #[name = c"off"]
    Off,
    #[name = c"rejected"]
    Rejected,
    #[name = c"all"]
    All,
}
