//! The steps of the walk, and their SQL.

use serde_json::json;

use super::random::Random;
use crate::server::*;

/// The users.
pub const SUBS: [&str; 3] = ["alice", "bob", "carol"];
/// The user whose tokens forbid to write (`pg_jwks.read_only_claim`).
pub const READ_ONLY: &str = "carol";
/// The role of each token (`pg_jwks.set_role`).
pub const ROLE: &str = "model_role";
const TOKENS_OF_EACH: usize = 4;

/// A way in which an init fails.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    Null,
    Malformed,
    Forged,
}

impl Failure {
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::Null | Self::Malformed => "22023",
            Self::Forged => "28000",
        }
    }
}

/// What a pool sends before another borrows the connection.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    Asyncpg,
    Npgsql,
    /// With its default `server_reset_query`, which it sends outside of transactions only.
    PgBouncer,
    /// As HikariCP does it for JDBC.
    Jdbc,
    SqlAlchemy,
}

impl Pool {
    pub const ALL: [Self; 5] = [Self::Asyncpg, Self::Npgsql, Self::PgBouncer, Self::Jdbc, Self::SqlAlchemy];

    fn statements(self) -> &'static str {
        match self {
            Self::Asyncpg => "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
            Self::Npgsql => {
                "RESET SESSION AUTHORIZATION; CLOSE ALL; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all();
                 DISCARD SEQUENCES; DISCARD TEMP"
            }
            Self::PgBouncer => "DISCARD ALL",
            Self::Jdbc | Self::SqlAlchemy => "ROLLBACK",
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Read,
    ReadInWorkers,
    Begin,
    Commit,
    Rollback,
    Savepoint(char),
    RollbackTo(char),
    Release(char),
    Init {
        sub: &'static str,
        local: bool,
    },
    /// In a PL/pgSQL block with an exception handler, so in a subtransaction that is released.
    InitInBlock {
        sub: &'static str,
        local: bool,
    },
    InitThenError {
        sub: &'static str,
        local: bool,
    },
    InitThenCaughtError {
        sub: &'static str,
        local: bool,
    },
    /// In a DO block that commits and then sets a local identity.
    InitThenCommit {
        sub: &'static str,
    },
    Fail(Failure),
    FailCaught(Failure),
    InitThenFailCaught {
        sub: &'static str,
        failure: Failure,
    },
    Clear,
    Reset,
    ResetAll,
    SetDefault,
    SetEmpty,
    SetLocalEmpty,
    DiscardAll,
    PoolReset(Pool),
    /// On a table, of which it changes no row.
    Write,
    Forge,
}

/// Some tokens of each user: repeated ones are remembered, and each counts as an identity of its own.
pub struct Tokens {
    good: Vec<(&'static str, Vec<String>)>,
    forged: String,
}

impl Tokens {
    pub fn new() -> Self {
        let of = |sub| {
            let claims = |number| json!({ "sub": sub, "number": number, "roles": ROLE, "support": sub == READ_ONLY });
            let number = |number| token_with(claims(number));
            (0..TOKENS_OF_EACH).map(number).collect()
        };
        Self { good: SUBS.iter().map(|sub| (*sub, of(*sub))).collect(), forged: forged_token("bob") }
    }

    fn of(&self, sub: &str, random: &mut Random) -> &str {
        let (_, tokens) = self.good.iter().find(|(name, _)| *name == sub).expect("a user");
        &tokens[random.below(tokens.len())]
    }
}

impl Step {
    /// Its SQL.
    pub fn statement(&self, tokens: &Tokens, random: &mut Random) -> String {
        let mut good = |sub: &str, local: bool| {
            let token = tokens.of(sub, random);
            format!("auth.jwt_session_init('{token}', {local})")
        };
        let bad = |failure: &Failure| match failure {
            Failure::Null => "auth.jwt_session_init(NULL)".to_owned(),
            Failure::Malformed => "auth.jwt_session_init('a.b.c')".to_owned(),
            Failure::Forged => format!("auth.jwt_session_init('{}')", tokens.forged),
        };
        let block = |body: String| format!("DO $do$BEGIN {body} EXCEPTION WHEN OTHERS THEN NULL; END$do$");
        match self {
            Self::Read | Self::ReadInWorkers => unreachable!("the walk reads by itself"),
            Self::Begin => "BEGIN".into(),
            Self::Commit => "COMMIT".into(),
            Self::Rollback => "ROLLBACK".into(),
            Self::Savepoint(name) => format!("SAVEPOINT {name}"),
            Self::RollbackTo(name) => format!("ROLLBACK TO {name}"),
            Self::Release(name) => format!("RELEASE {name}"),
            Self::Init { sub, local } => format!("SELECT {}", good(sub, *local)),
            Self::InitInBlock { sub, local } => block(format!("PERFORM {};", good(sub, *local))),
            Self::InitThenError { sub, local } => format!("SELECT {}, 1 / 0", good(sub, *local)),
            Self::InitThenCaughtError { sub, local } => block(format!("PERFORM {}; RAISE 'x';", good(sub, *local))),
            Self::InitThenCommit { sub } => {
                let (lasting, passing) = (good(sub, false), good(sub, true));
                format!("DO $do$BEGIN PERFORM {lasting}; COMMIT; PERFORM {passing}; END$do$")
            }
            Self::Fail(failure) => format!("SELECT {}", bad(failure)),
            Self::FailCaught(failure) => block(format!("PERFORM {};", bad(failure))),
            Self::InitThenFailCaught { sub, failure } => {
                block(format!("PERFORM {}; PERFORM {};", good(sub, false), bad(failure)))
            }
            Self::Clear => "SELECT auth.jwt_session_clear()".into(),
            Self::Reset => "RESET pg_jwks.session".into(),
            Self::ResetAll => "RESET ALL".into(),
            Self::SetEmpty => "SET pg_jwks.session = ''".into(),
            Self::SetLocalEmpty => "SET LOCAL pg_jwks.session = ''".into(),
            Self::DiscardAll => "DISCARD ALL".into(),
            Self::PoolReset(pool) => pool.statements().into(),
            Self::Write => "DELETE FROM scratch".into(),
            Self::SetDefault => "SET pg_jwks.session TO DEFAULT".into(),
            Self::Forge => r#"SET pg_jwks.session = '{"sub":"bob","exp":4102444800}'"#.into(),
        }
    }
}
