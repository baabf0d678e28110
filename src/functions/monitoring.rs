//! The SQL functions for operators: which keys are in use, and what became of tokens.

use pg_jwks_core::time::Timestamp;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use crate::identity::connected::connected;
use crate::pg::clock::{now, to_postgres};
use crate::pg::encoding::server_encoded;
use crate::pg::process::database;
use crate::pg::{error, memory};
use crate::telemetry::counters::{counters, read};
use crate::{keys, settings};

fn timestamptz(moment: Option<Timestamp>) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(to_postgres(moment?)).ok()
}

/// `auth.jwks()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn jwks() -> TableIterator<
    'static,
    (
        name!(issuer, Option<String>),
        name!(kid, Option<String>),
        name!(kty, Option<&'static str>),
        name!(alg, Option<&'static str>),
        name!(usage, Option<&'static str>),
        name!(source, String),
        name!(fetched_at, Option<TimestampWithTimeZone>),
        name!(refresh_at, Option<TimestampWithTimeZone>),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(stale, bool),
        name!(last_error, Option<String>),
        name!(serves_until, Option<TimestampWithTimeZone>),
        name!(next_fetch, Option<TimestampWithTimeZone>),
        name!(problem, Option<String>),
    ),
> {
    memory::require(0);
    let rows = keys::key_rows(&settings::current(), now());
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.issuer,
            row.kid,
            row.kty,
            row.alg,
            row.usage,
            row.source,
            timestamptz(row.fetched_at),
            timestamptz(row.refresh_at),
            timestamptz(row.expires_at),
            row.stale,
            row.last_error,
            timestamptz(row.serves_until),
            timestamptz(row.next_fetch),
            row.problem,
        )
    }))
}

/// What the view `auth.jwt_sessions` shows: the sessions of this database that have an identity. Raises 55000 if the library is
/// not preloaded.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn jwt_session_list() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(issuer, Option<Vec<u8>>),
        name!(subject, Option<Vec<u8>>),
        name!(tenant, Option<Vec<u8>>),
        name!(session, Option<Vec<u8>>),
        name!(token_id, Option<Vec<u8>>),
        name!(actor, Option<Vec<u8>>),
        name!(origin, String),
        name!(is_local, bool),
        name!(since, Option<TimestampWithTimeZone>),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    let sessions = connected().unwrap_or_else(|| raise_not_preloaded());
    let text = |text: Option<String>| text.map(|text| server_encoded(&text));
    TableIterator::new(sessions.into_iter().filter(|session| session.database == database()).map(move |session| {
        (
            session.pid,
            text(session.issuer),
            text(session.subject),
            text(session.tenant),
            text(session.session),
            text(session.token_id),
            text(session.actor),
            session.origin,
            session.put.is_local,
            TimestampWithTimeZone::try_from(session.put.since).ok(),
            TimestampWithTimeZone::try_from(session.expires_at).ok(),
        )
    }))
}

/// `auth.jwks_refresh()`.
#[pg_extern(sql = false)]
fn jwks_refresh() {
    memory::require(0);
    if let Err(problem) = keys::refresh(&settings::current(), now()) {
        raise_unavailable(problem);
    }
}

/// What the view `auth.jwt_stats` shows: a counter, the reason if it counts rejections, and its value.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn jwt_counters()
-> TableIterator<'static, (name!(counter, &'static str), name!(reason, Option<&'static str>), name!(value, i64))> {
    let counters = counters();
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let plain = [
        ("accepted", &counters.accepted),
        ("remembered", &counters.remembered),
        ("fetches", &counters.fetches),
        ("fetch_failures", &counters.fetch_failures),
    ];
    let plain = plain.into_iter().map(move |(name, counter)| (name, None, signed(read(counter))));
    let rejected = counters.rejected().map(move |(reason, value)| ("rejected", Some(reason.text()), signed(value)));
    TableIterator::new(plain.chain(rejected).collect::<Vec<_>>())
}

/// Raises 55000 if keys cannot be refreshed.
fn raise_unavailable(problem: String) -> ! {
    let sqlstate = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    error::raise(sqlstate, "keys cannot be refreshed".into(), problem, None)
}

/// Raises 55000 for what needs shared memory.
fn raise_not_preloaded() -> ! {
    error::raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "pg_jwks is not preloaded".into(),
        "Only a preloaded library knows of other sessions.".into(),
        Some("Add pg_jwks to shared_preload_libraries and restart the server.".into()),
    )
}
