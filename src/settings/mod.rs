//! Every setting `pg_jwks.*` but the identity itself, and one typed snapshot of them.

pub mod certificates;
mod check;
mod define;
mod unapplied;

use std::cell::RefCell;
use std::ffi::CString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use pg_jwks_core::cache::freshness::Limits;
use pg_jwks_core::claims::{ClaimPath, ClaimSet};
use pg_jwks_core::policy::claim_settings::{self, ClaimVariable};
use pg_jwks_core::policy::membership_table::MembershipTable;
use pg_jwks_core::policy::provider::{self, Provider};
use pg_jwks_core::policy::providers::{Providers, TrustSettings};
use pg_jwks_core::policy::role_map::RoleMap;
use pg_jwks_core::time::Span;
use pgrx::guc::{GucSetting, PostgresGucEnum};
use serde::{Deserialize, Serialize};

pub use define::{define, reserve_prefix};

type Text = GucSetting<Option<CString>>;

static ISSUER: Text = GucSetting::<Option<CString>>::new(None);
static AUDIENCE: Text = GucSetting::<Option<CString>>::new(None);
static JWKS_URI: Text = GucSetting::<Option<CString>>::new(None);
static JWKS: Text = GucSetting::<Option<CString>>::new(None);
static PROVIDERS: Text = GucSetting::<Option<CString>>::new(None);
static ALLOWED_ALGORITHMS: Text =
    GucSetting::<Option<CString>>::new(Some(c"RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"));
static REQUIRED_SCOPE: Text = GucSetting::<Option<CString>>::new(None);
static ROLE_CLAIM: Text = GucSetting::<Option<CString>>::new(Some(c"role"));
static ROLE_MAP: Text = GucSetting::<Option<CString>>::new(None);
static SET_ROLE: GucSetting<bool> = GucSetting::<bool>::new(false);
static READ_ONLY_CLAIM: Text = GucSetting::<Option<CString>>::new(None);
static AUTHN_CLAIM: Text = GucSetting::<Option<CString>>::new(Some(c"sub"));
static ALLOW_SUPERUSER_LOGIN: GucSetting<bool> = GucSetting::<bool>::new(false);
static ON_EXPIRY: GucSetting<OnExpiry> = GucSetting::<OnExpiry>::new(OnExpiry::Error);
static TENANT_CLAIM: Text = GucSetting::<Option<CString>>::new(None);
static TENANT_LOOKUP: Text = GucSetting::<Option<CString>>::new(Some(c"public.users (id, tenant_id)"));
static CLAIM_SETTINGS: Text = GucSetting::<Option<CString>>::new(None);
static SESSION_SCOPE: GucSetting<SessionScope> = GucSetting::<SessionScope>::new(SessionScope::Any);
static TRUST_REQUEST_CLAIMS: GucSetting<bool> = GucSetting::<bool>::new(false);
static CA_FILE: Text = GucSetting::<Option<CString>>::new(None);
static TOKEN_TYPE: GucSetting<TokenType> = GucSetting::<TokenType>::new(TokenType::Any);
static LEEWAY: GucSetting<i32> = GucSetting::<i32>::new(30);
static MAX_TOKEN_AGE: GucSetting<i32> = GucSetting::<i32>::new(0);
static JWKS_CACHE_TTL: GucSetting<i32> = GucSetting::<i32>::new(3600);
static JWKS_REFRESH_COOLDOWN: GucSetting<i32> = GucSetting::<i32>::new(30);
static JWKS_MAX_STALE: GucSetting<i32> = GucSetting::<i32>::new(24 * 3600);
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(2000);
static FETCH_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5000);
static ALLOW_INSECURE_HTTP: GucSetting<bool> = GucSetting::<bool>::new(false);
static SHARED_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(1024);
static AUDIT_LOG: GucSetting<AuditLog> = GucSetting::<AuditLog>::new(AuditLog::Rejected);
static AUDIT_CLAIMS: Text = GucSetting::<Option<CString>>::new(None);
static TOKEN_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(128);

/// `pg_jwks.token_type`.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum TokenType {
    #[name = c"any"]
    Any,
    #[name = c"access"]
    Access,
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

/// The settings in force, parsed.
pub struct Settings {
    /// The trusted issuers; the error is a full sentence.
    pub providers: Result<Providers, String>,
    /// From the roles of a token to roles of the database.
    pub role_map: RoleMap,
    /// Whether `auth.jwt_session_init` sets the role too.
    pub set_role: bool,
    /// The claim that makes a session read-only where it is true.
    pub read_only_claim: Option<ClaimPath>,
    /// Whether a token may log in as a superuser, as a replication role or as a `pg_*` role.
    #[cfg(feature = "pg18")]
    pub allow_superuser_login: bool,
    /// The table that says to which tenants a user belongs.
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
}

/// How keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Network {
    connect_timeout_ms: u64,
    fetch_timeout_ms: u64,
    /// Trust roots besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether plain `http:` may be used.
    pub allow_insecure_http: bool,
}

impl Settings {
    /// The issuer of an identity. `None` where it is not configured any more.
    pub fn provider_of(&self, claims: &ClaimSet) -> Option<&Provider> {
        self.providers.as_ref().ok()?.of_issuer(claims.text("iss")?)
    }
}

impl Network {
    /// Bound of setting up a connection.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Bound of a whole fetch, discovery included.
    pub fn fetch_timeout(&self) -> Duration {
        Duration::from_millis(self.fetch_timeout_ms)
    }
}

/// Another number after each change. Not a thread's own: readers look at it for each row.
static GENERATION: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SNAPSHOT: RefCell<Option<(u64, Rc<Settings>)>> = const { RefCell::new(None) };
}

/// The settings in force. They are parsed again only after one of them has changed.
pub fn current() -> Rc<Settings> {
    let generation = GENERATION.load(Relaxed);
    SNAPSHOT.with_borrow_mut(|snapshot| match snapshot {
        Some((of, settings)) if *of == generation => settings.clone(),
        _ => {
            let settings = Rc::new(parse());
            *snapshot = Some((generation, settings.clone()));
            settings
        }
    })
}

/// Another number after each change of a setting.
#[inline]
pub fn generation() -> u64 {
    GENERATION.load(Relaxed)
}

/// The allowed clock skew in microseconds, read at each statement.
pub fn leeway_micros() -> i64 {
    i64::from(LEEWAY.get()) * 1_000_000
}

/// What happens to a session that uses an identity past its `exp`.
pub fn on_expiry() -> OnExpiry {
    ON_EXPIRY.get()
}

/// Whether, without a verified identity, `request.jwt.claims` is believed.
pub fn trust_request_claims() -> bool {
    TRUST_REQUEST_CLAIMS.get()
}

/// The session variables that show claims (`pg_jwks.claim_settings`), fixed when the server starts.
pub fn claim_variables() -> Vec<ClaimVariable> {
    let text = CLAIM_SETTINGS.get().and_then(|value| value.into_string().ok()).unwrap_or_default();
    claim_settings::parse(&text).unwrap_or_default()
}

/// Bytes of shared memory for key documents (`pg_jwks.shared_cache_size`), fixed when the server starts.
pub fn shared_cache_bytes() -> usize {
    usize::try_from(SHARED_CACHE_SIZE.get()).unwrap_or(0) * 1024
}

/// A setting has been assigned.
fn changed() {
    GENERATION.fetch_add(1, Relaxed);
}

fn parse() -> Settings {
    let text = |setting: &Text| setting.get().and_then(|value| value.into_string().ok());
    let seconds = |setting: &GucSetting<i32>| Span::from_seconds(setting.get().into());
    let millis = |setting: &GucSetting<i32>| u64::try_from(setting.get()).unwrap_or(0);
    let (issuer, audience, jwks_uri, jwks) = (text(&ISSUER), text(&AUDIENCE), text(&JWKS_URI), text(&JWKS));
    let (providers, required_scope) = (text(&PROVIDERS), text(&REQUIRED_SCOPE));
    let (tenant_claim, read_only_claim) = (text(&TENANT_CLAIM), text(&READ_ONLY_CLAIM));
    let trust = TrustSettings {
        issuer: issuer.as_deref(),
        audience: audience.as_deref(),
        jwks_uri: nonempty(&jwks_uri),
        jwks: nonempty(&jwks),
        providers: nonempty(&providers),
        allowed_algorithms: &text(&ALLOWED_ALGORITHMS).unwrap_or_default(),
        required_scope: required_scope.as_deref(),
        role_claim: &text(&ROLE_CLAIM).unwrap_or_default(),
        tenant_claim: nonempty(&tenant_claim),
        authn_claim: &text(&AUTHN_CLAIM).unwrap_or_default(),
        token_type: match TOKEN_TYPE.get() {
            TokenType::Any => provider::TokenType::Any,
            TokenType::Access => provider::TokenType::Access,
        },
        leeway: seconds(&LEEWAY),
        max_token_age: Some(seconds(&MAX_TOKEN_AGE)).filter(|age| *age > Span::ZERO),
    };
    Settings {
        providers: match unapplied::unapplied() {
            Some(name) => Err(format!("The configured value of \"{name}\" could not be applied.")),
            None => Providers::assemble(&trust),
        },
        role_map: checked(RoleMap::parse(&text(&ROLE_MAP).unwrap_or_default())),
        set_role: SET_ROLE.get(),
        read_only_claim: nonempty(&read_only_claim).map(|path| checked(ClaimPath::parse(path))),
        #[cfg(feature = "pg18")]
        allow_superuser_login: ALLOW_SUPERUSER_LOGIN.get(),
        tenant_lookup: checked(MembershipTable::parse(&text(&TENANT_LOOKUP).unwrap_or_default())),
        session_scope: SESSION_SCOPE.get(),
        limits: Limits {
            ttl: seconds(&JWKS_CACHE_TTL),
            cooldown: seconds(&JWKS_REFRESH_COOLDOWN),
            max_stale: seconds(&JWKS_MAX_STALE),
        },
        network: Network {
            connect_timeout_ms: millis(&CONNECT_TIMEOUT),
            fetch_timeout_ms: millis(&FETCH_TIMEOUT),
            ca_file: nonempty(&text(&CA_FILE)).map(PathBuf::from),
            allow_insecure_http: ALLOW_INSECURE_HTTP.get(),
        },
        token_cache_size: TOKEN_CACHE_SIZE.get().try_into().unwrap_or(0),
        audit_log: AUDIT_LOG.get(),
        audit_claims: provider::list(&text(&AUDIT_CLAIMS).unwrap_or_default()),
    }
}

/// A value that its check hook has let pass.
fn checked<T>(parsed: Result<T, String>) -> T {
    parsed.unwrap_or_else(|problem| unreachable!("{problem}"))
}

/// An empty setting is an unset one.
fn nonempty(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.trim().is_empty())
}
