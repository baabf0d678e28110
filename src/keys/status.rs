//! What `auth.jwks()` shows.

use pg_jwks_core::cache::freshness::Upkeep;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::Source;
use pg_jwks_core::time::Timestamp;

use super::in_force::store;
use super::location::Location;
use super::source::KeySource;
use crate::settings::Settings;

/// A key in use, one that cannot be used, or a source without keys.
#[derive(Clone, Default)]
#[allow(missing_docs)] // Each field is the column of its name.
pub struct KeyRow {
    pub issuer: Option<String>,
    pub kid: Option<String>,
    pub kty: Option<&'static str>,
    pub alg: Option<&'static str>,
    pub usage: Option<&'static str>,
    pub source: String,
    pub fetched_at: Option<Timestamp>,
    pub refresh_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub stale: bool,
    pub last_error: Option<String>,
    pub serves_until: Option<Timestamp>,
    pub next_fetch: Option<Timestamp>,
    pub problem: Option<String>,
}

/// The keys of the issuers in this session's settings, and those that other databases and roles use.
pub fn key_rows(settings: &Settings, now: Timestamp) -> Vec<KeyRow> {
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for provider in settings.providers.as_ref().map_or(&[][..], |providers| providers.all()) {
        let about = KeyRow { issuer: Some(provider.issuer.to_string()), ..KeyRow::default() };
        if let Source::Inline(keys) = &provider.source {
            push(&mut rows, KeyRow { source: "pg_jwks.jwks".into(), ..about }, Some(keys));
            continue;
        }
        match KeySource::of(provider, settings) {
            Err(rejection) => push(&mut rows, KeyRow { last_error: Some(rejection.detail), ..about }, None),
            Ok(source) => {
                push_source(&mut rows, about, &source, now);
                shown.push(source);
            }
        }
    }
    for source in store().sources().into_iter().filter(|source| !shown.contains(source)) {
        let issuer = match &source.location {
            Location::Discovery(issuer) => Some(issuer.clone()),
            Location::File(_) | Location::Url(_) => None,
        };
        push_source(&mut rows, KeyRow { issuer, ..KeyRow::default() }, &source, now);
    }
    rows
}

fn push_source(rows: &mut Vec<KeyRow>, about: KeyRow, source: &KeySource, now: Timestamp) {
    let about = KeyRow { source: source.location.to_string(), ..about };
    let standing = match store().standing(source, now) {
        Ok(standing) => standing,
        Err(problem) => return push(rows, KeyRow { last_error: Some(problem.into()), ..about }, None),
    };
    let (freshness, limits) = (standing.freshness, source.limits());
    let expires_at = freshness.expires(&limits);
    let about = KeyRow {
        fetched_at: freshness.fetched_at(),
        refresh_at: freshness.was_tried().then(|| freshness.due(now, &limits, store().upkeep())),
        expires_at,
        stale: expires_at.is_some_and(|expires| now >= expires),
        last_error: standing.error,
        serves_until: freshness.serves_until(&limits),
        // Without a worker the next fetch comes with a token.
        next_fetch: (store().upkeep() == Upkeep::Unasked)
            .then(|| freshness.due(now, &limits, Upkeep::Unasked).max(now)),
        ..about
    };
    push(rows, about, standing.keys.as_deref());
}

fn push(rows: &mut Vec<KeyRow>, about: KeyRow, keys: Option<&KeySet>) {
    let skipped = keys.map_or(&[][..], KeySet::skipped);
    let keys = keys.map_or(&[][..], KeySet::keys);
    if keys.is_empty() {
        rows.push(about.clone());
    }
    rows.extend(skipped.iter().map(|key| KeyRow {
        kid: key.kid.clone(),
        problem: Some(key.why.clone()),
        ..about.clone()
    }));
    rows.extend(keys.iter().map(|key| KeyRow {
        kid: key.kid().map(str::to_owned),
        kty: Some(key.key_type().kty()),
        alg: key.algorithm().map(|algorithm| algorithm.name()),
        usage: Some("sig"),
        ..about.clone()
    }));
}
