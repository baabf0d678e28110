//! What others are shown of the identity in force: its row of `auth.jwt_sessions`, and its claims in the server log.

use pg_jwks_core::claims::{ClaimSet, log_text};
use pg_jwks_core::policy::revocation::Subject;

use super::connected::{self, Connected, Put, Source};
use super::session::{Grounds, Kept};
use crate::pg::clock::to_postgres;
use crate::pg::encoding::server_text;
use crate::pg::process::{backend_pid, database, is_parallel_worker};
use crate::settings::{self, Settings};
use crate::telemetry::log_claims;

/// Shows the identity in force.
pub fn show(kept: &Kept, claims: &ClaimSet, settings: &Settings) {
    if !settings.log_claims.is_empty() {
        log_claims::set(kept.identity.serial, server_text(&log_text(claims, &settings.log_claims)));
    }
    // A parallel worker has the identity of its leader.
    if connected::is_published() && !is_parallel_worker() {
        let (serial, put) = (kept.identity.serial, Put { is_local: kept.is_local, since: kept.since });
        let source = match kept.grounds {
            Some(Grounds::Token { token, .. }) => {
                Some(Source { token, settings: settings::generation(), origin: kept.origin })
            }
            Some(Grounds::Privilege(_)) | None => None,
        };
        if !source.is_some_and(|source| connected::publish_again(serial, source, put)) {
            connected::publish(serial, source, of(kept, claims, settings, put));
        }
    }
}

fn of(kept: &Kept, claims: &ClaimSet, settings: &Settings, put: Put) -> Connected {
    let subject = Subject::of(claims, None, None);
    let provider = settings.provider_of(claims);
    let tenants = provider.and_then(|provider| provider.tenant_claim.as_ref()).map(|path| claims.identifiers_at(path));
    let own = |text: Option<&str>| text.map(str::to_owned);
    Connected {
        pid: backend_pid(),
        database: database(),
        issuer: own(subject.issuer),
        subject: settings.user_of(claims),
        tenant: tenants.filter(|tenants| tenants.len() == 1).and_then(|mut tenants| tenants.pop()),
        session: own(subject.session),
        token_id: own(subject.token_id),
        actor: own(claims.actor()),
        origin: kept.origin.name().into(),
        expires_at: to_postgres(kept.identity.expires),
        put,
    }
}
