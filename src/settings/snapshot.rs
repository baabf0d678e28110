//! One typed snapshot of the settings in force.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pg_jwks_core::cache::freshness::Limits;
use pg_jwks_core::claims::{ClaimPath, ClaimSet};
use pg_jwks_core::policy::issuer_name::IssuerName;
use pg_jwks_core::policy::membership_table::MembershipTable;
use pg_jwks_core::policy::provider::{Provider, Source};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::role_map::{self, RoleMap};
use pg_jwks_core::policy::trust_settings::TrustSettings;
use pg_jwks_core::rejection::Rejection;
use pg_jwks_core::time::Span;
use serde::{Deserialize, Serialize};

use super::generation::generation;
use super::table::TABLE;
use super::unapplied;
use super::words::{AuditLog, SessionScope};
use crate::pg::backend_local::BackendLocal;

/// The settings in force, parsed.
pub struct Settings {
    /// The [`generation`] at which they were parsed, which tells them from those of other times.
    pub serial: u64,
    /// The trusted issuers; the error is a full sentence.
    pub providers: Result<Providers, String>,
    /// What the plain settings say of claims that name no issuer.
    plain: Option<Provider>,
    /// From the roles of a token to roles of the database.
    pub role_map: RoleMap,
    /// Whether `auth.jwt_session_init` sets the role too.
    pub set_role: bool,
    /// The claim that makes a session read-only.
    pub read_only_claim: Option<ClaimPath>,
    /// Whether a token may log in as a superuser, as a replication role or as a `pg_*` role.
    pub allow_superuser_login: bool,
    /// The table that says which tenants a user belongs to.
    pub tenant_lookup: MembershipTable,
    /// How long an identity may last.
    pub session_scope: SessionScope,
    /// How long keys live.
    pub limits: Limits,
    /// How keys are fetched.
    pub network: Network,
    /// Verified tokens to remember.
    pub token_cache_size: usize,
    /// Which decisions are logged.
    pub audit_log: AuditLog,
    /// The claims in the log of accepted tokens.
    pub audit_claims: Vec<String>,
    /// The claims in each line of the log, by name.
    pub log_claims: Vec<(String, ClaimPath)>,
}

/// How keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Network {
    /// Bound of setting up a connection.
    pub connect_timeout: Duration,
    /// Bound of a whole fetch, discovery included.
    pub fetch_timeout: Duration,
    /// Trust roots besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The proxy; without one, that of the server's environment.
    pub http_proxy: Option<String>,
    /// Whether plain `http:` may be used.
    pub allow_insecure_http: bool,
}

impl Settings {
    /// Whether the claims of an identity forbid it to write (`pg_jwks.read_only_claim`).
    pub fn forbids_writing(&self, claims: &ClaimSet) -> bool {
        self.read_only_claim.as_ref().is_some_and(|path| claims.restricts(path))
    }

    /// The roles of which `auth.jwt_session_init` sets the first that exists, for a token of this issuer with these claims.
    /// There is one at least.
    pub fn roles_of<'s>(&'s self, claims: &'s ClaimSet, provider: &Provider) -> Result<Vec<&'s str>, Rejection> {
        let claimed: Vec<&str> = claims.roles_at(&provider.role_claim).collect();
        let roles = self.role_map.roles(&claimed);
        if roles.is_empty() { Err(role_map::no_role()) } else { Ok(roles) }
    }

    /// The user of an identity, as text. `None` if its claims name nobody.
    pub fn user_of(&self, claims: &ClaimSet) -> Option<String> {
        self.provider_of(claims).or(self.plain.as_ref())?.user(claims)
    }

    /// The configured issuer of an identity, or what the plain settings say if its claims name none; `None` if it is not
    /// configured any more. Of a token that was just verified, the claims say it themselves.
    pub fn provider_of(&self, claims: &ClaimSet) -> Option<&Provider> {
        let providers = self.providers.as_ref().ok()?;
        match claims.text("iss") {
            Some(iss) => providers.of_issuer(iss).map(Arc::as_ref),
            None => self.plain.as_ref(),
        }
    }

    /// The name of the only configured issuer, if there is one and it has no place.
    pub fn only_issuer(&self) -> Option<&str> {
        match self.providers.as_ref().ok()?.all() {
            [only] if only.issuer.place().is_none() => Some(only.issuer.as_str()),
            _ => None,
        }
    }
}

static SNAPSHOT: BackendLocal<RefCell<Option<Rc<Settings>>>> = BackendLocal::new(RefCell::new(None));

/// The settings in force. They are parsed again only after one of them has changed.
pub fn current() -> Rc<Settings> {
    let generation = generation();
    let mut snapshot = SNAPSHOT.borrow_mut();
    match &*snapshot {
        Some(settings) if settings.serial == generation => settings.clone(),
        _ => snapshot.insert(Rc::new(parse(generation))).clone(),
    }
}

fn parse(generation: u64) -> Settings {
    Settings {
        serial: generation,
        providers: match unapplied::unapplied() {
            Some(name) => Err(format!("The configured value of \"{name}\" could not be applied.")),
            None => with_trust_settings(Providers::assemble),
        },
        plain: with_trust_settings(|settings| settings.provider(IssuerName::exact(String::new()), Source::Unset)).ok(),
        role_map: TABLE.role_map.get(),
        set_role: TABLE.set_role.get(),
        read_only_claim: TABLE.read_only_claim.get(),
        allow_superuser_login: TABLE.allow_superuser_login.get(),
        tenant_lookup: TABLE.tenant_lookup.get(),
        session_scope: TABLE.session_scope.get(),
        limits: Limits {
            ttl: TABLE.jwks_cache_ttl.get(),
            cooldown: TABLE.jwks_refresh_cooldown.get(),
            max_stale: TABLE.jwks_max_stale.get(),
        },
        network: Network {
            connect_timeout: TABLE.connect_timeout.get(),
            fetch_timeout: TABLE.fetch_timeout.get(),
            ca_file: nonempty(&TABLE.ca_file.text()).map(PathBuf::from),
            http_proxy: nonempty(&TABLE.http_proxy.text()).map(str::to_owned),
            allow_insecure_http: TABLE.allow_insecure_http.get(),
        },
        token_cache_size: TABLE.token_cache_size.get(),
        audit_log: TABLE.audit_log.get(),
        audit_claims: TABLE.audit_claims.get(),
        log_claims: TABLE.log_claims.get(),
    }
}

fn with_trust_settings<T>(read: impl FnOnce(&TrustSettings) -> T) -> T {
    read(&TrustSettings {
        issuer: nonempty(&TABLE.issuer.text()),
        jwks_token_file: nonempty(&TABLE.jwks_token_file.text()),
        audience: nonempty(&TABLE.audience.text()),
        audience_claim: &TABLE.audience_claim.text(),
        jwks_uri: nonempty(&TABLE.jwks_uri.text()),
        jwks: nonempty(&TABLE.jwks.text()),
        providers: nonempty(&TABLE.providers.text()),
        allowed_algorithms: &TABLE.allowed_algorithms.text(),
        required_scope: nonempty(&TABLE.required_scope.text()),
        required_claims: nonempty(&TABLE.required_claims.text()),
        user_claim: &TABLE.user_claim.text(),
        role_claim: &TABLE.role_claim.text(),
        tenant_claim: nonempty(&TABLE.tenant_claim.text()),
        authn_claim: nonempty(&TABLE.authn_claim.text()),
        token_type: TABLE.token_type.get().into(),
        leeway: TABLE.leeway.get(),
        max_token_age: Some(TABLE.max_token_age.get()).filter(|age| *age > Span::ZERO),
        max_token_lifetime: Some(TABLE.max_token_lifetime.get()).filter(|life| *life > Span::ZERO),
    })
}

/// An empty setting is an unset one.
pub(super) fn nonempty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.trim().is_empty())
}
