//! What `auth.jwks()` shows, and `auth.jwks_refresh()`.

use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::Source;
use pg_jwks_core::time::Timestamp;

use super::location::{Location, Origin};
use super::shared::shared;
use super::{cluster, own, source};
use crate::settings::Settings;

/// A key in use, or an origin without keys.
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
}

/// The keys of the issuers in this session's settings, and those that other databases and roles use.
pub fn key_rows(settings: &Settings, now: Timestamp) -> Vec<KeyRow> {
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for provider in settings.providers.as_ref().map_or(&[][..], |providers| providers.all()) {
        let about = KeyRow { issuer: Some(provider.issuer.clone()), ..KeyRow::default() };
        if let Source::Inline(keys) = &provider.source {
            push(&mut rows, KeyRow { source: "pg_jwks.jwks".into(), ..about }, Some(keys));
            continue;
        }
        match source::origin(provider, settings) {
            Err(rejection) => push(&mut rows, KeyRow { last_error: Some(rejection.detail), ..about }, None),
            Ok(origin) => {
                push_origin(&mut rows, about, &origin, now);
                shown.push(origin.descriptor());
            }
        }
    }
    for (_, descriptor) in shared().map_or_else(Vec::new, |shared| shared.slots()) {
        if !shown.contains(&descriptor)
            && let Some(origin) = Origin::from_descriptor(&descriptor)
        {
            let issuer = match &origin.location {
                Location::Discovery(issuer) => Some(issuer.clone()),
                Location::File(_) | Location::Url(_) => None,
            };
            push_origin(&mut rows, KeyRow { issuer, ..KeyRow::default() }, &origin, now);
        }
    }
    rows
}

/// Fetches the keys of this session's issuers now, all at once where the worker does it. The error names the issuers
/// whose keys could not be had.
pub fn refresh(settings: &Settings, now: Timestamp) -> Result<(), String> {
    let providers = settings.providers.as_ref().map_err(Clone::clone)?.all();
    let fetched = providers.iter().filter(|provider| !matches!(provider.source, Source::Inline(_)));
    let (mut begun, mut problems) = (Vec::new(), Vec::new());
    for provider in fetched {
        match source::origin(provider, settings) {
            Err(rejection) => problems.push(rejection.detail),
            Ok(origin) => begun.push((shared().map(|shared| (shared, cluster::refresh(shared, &origin, now))), origin)),
        }
    }
    for (refresh, origin) in begun {
        let result = match refresh {
            Some((shared, refresh)) => refresh.and_then(|refresh| refresh.result(shared, &origin, now)),
            None => own::OwnKeys::new(now).refresh(&origin),
        };
        if let Err(error) = result {
            problems.push(origin.location.problem(&error));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn push_origin(rows: &mut Vec<KeyRow>, about: KeyRow, origin: &Origin, now: Timestamp) {
    let about = KeyRow { source: origin.location.to_string(), ..about };
    match shared() {
        Some(shared) => {
            let view = match cluster::view(shared, origin, now) {
                Ok(view) => view,
                Err(problem) => return push(rows, KeyRow { last_error: Some(problem.into()), ..about }, None),
            };
            let moment = |micros: i64| (view.keys.is_some() && micros > 0).then(|| Timestamp::from_micros(micros));
            let expires_at = moment(view.state.fetched.saturating_add(view.state.life));
            let about = KeyRow {
                fetched_at: moment(view.state.fetched),
                refresh_at: Some(view.state.due).filter(|due| *due > 0).map(Timestamp::from_micros),
                expires_at,
                stale: expires_at.is_some_and(|expires| now >= expires),
                last_error: Some(view.state.error).filter(|error| !error.is_empty()),
                ..about
            };
            push(rows, about, view.keys.as_deref());
        }
        None => {
            let held = own::held(origin);
            let expires_at = held.expires(&origin.limits());
            let about = KeyRow {
                fetched_at: held.fetched_at(),
                refresh_at: Some(held.due(&origin.limits())).filter(|due| due.micros() > 0),
                expires_at,
                stale: expires_at.is_some_and(|expires| now >= expires),
                last_error: held.last_error().map(str::to_owned),
                ..about
            };
            push(rows, about, held.keys().as_deref());
        }
    }
}

fn push(rows: &mut Vec<KeyRow>, about: KeyRow, keys: Option<&KeySet>) {
    let keys = keys.map_or(&[][..], KeySet::keys);
    if keys.is_empty() {
        rows.push(about.clone());
    }
    rows.extend(keys.iter().map(|key| KeyRow {
        kid: key.kid().map(str::to_owned),
        kty: Some(key.key_type().kty()),
        alg: key.algorithm().map(|algorithm| algorithm.name()),
        usage: Some("sig"),
        ..about.clone()
    }));
}
