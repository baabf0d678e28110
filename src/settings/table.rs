//! The table of settings. A row says all there is to say about one: its name, its kind, its default, what can be set,
//! and the two texts that PostgreSQL shows. A new setting is a row here and its use.

use std::ffi::CStr;
use std::ops::RangeInclusive;

use pg_jwks_core::bounds::MAX_LEEWAY_SECONDS;
use pg_jwks_core::claims::{ClaimPath, named_paths};
use pg_jwks_core::jose::algorithm::Algorithms;
use pg_jwks_core::policy::claim_settings::{self, ClaimVariable};
use pg_jwks_core::policy::membership_table::MembershipTable;
use pg_jwks_core::policy::provider::{Audience, Source, check_scopes, list};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::required_claims::RequiredClaims;
use pg_jwks_core::policy::role_map::RoleMap;
use pg_jwks_core::policy::trust_settings::TrustSettings;
use pg_jwks_core::time::Span;

use super::check::{self, optional};
use super::kinds::{
    BoolSetting, Count, EnumSetting, IntegerSetting, Kilobytes, Milliseconds, Row, Seconds, StringSetting,
};
use super::words::{AuditLog, OnExpiry, SessionScope, TokenType};

/// The defaults that the core has.
const CORE: TrustSettings = TrustSettings::DEFAULT;

/// The longest time that makes sense for any of the settings: a year, in seconds.
const YEAR: i32 = 366 * 24 * 3600;

const HOUR: i32 = 3600;

/// What can be set for a timeout, in milliseconds.
const TIMEOUT: RangeInclusive<i32> = 10..=60_000;

/// A text as a C string, made by the compiler.
macro_rules! c_str {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const WITH_NUL: [u8; TEXT.len() + 1] = with_nul(TEXT);
        const C_STR: &CStr = match CStr::from_bytes_with_nul(&WITH_NUL) {
            Ok(text) => text,
            Err(_) => panic!("the text has a NUL in it"),
        };
        C_STR
    }};
}

/// Makes the table, and a function that defines all settings, of rows of this form:
/// `name: kind = (arguments of its constructor).modifier(), short description, long description;`.
macro_rules! table {
    ($($name:ident: $kind:ty = ($($argument:expr),*) $(.$modifier:ident())?, $short:expr, $long:expr;)*) => {
        /// Each setting, by its name without `pg_jwks.`.
        pub struct Table {
            $(pub $name: $kind,)*
        }

        /// The settings.
        pub static TABLE: Table = Table {
            $($name: <$kind>::new($($argument),*)$(.$modifier())?,)*
        };

        /// Defines every setting.
        pub fn define() {
            $({
                struct This;
                impl Row for This {
                    type Setting = $kind;
                    const NAME: &'static CStr = c_str!(concat!("pg_jwks.", stringify!($name)));
                    const SHORT: &'static CStr = c_str!($short);
                    const LONG: &'static CStr = c_str!($long);

                    fn setting() -> &'static $kind {
                        &TABLE.$name
                    }
                }
                <$kind>::define::<This>();
            })*
        }
    };
}

table! {
    // Which tokens are accepted.
    issuer: StringSetting<()> = (None, check::issuers),
        "Accepted \"iss\" claims, separated by commas.",
        "Set it to the \"iss\" of your tokens, to the letter, for example https://login.example.com/.";
    audience: StringSetting<Audience> = (None, Audience::parse),
        "Accepted \"aud\" claims, separated by commas.",
        "Set it to the \"aud\" of your tokens, or to * alone, which accepts any.";
    audience_claim: StringSetting<Vec<ClaimPath>> = (Some(c_str!(CORE.audience_claim)), ClaimPath::parse_list),
        "Paths of the claims that have the audience, separated by commas; the first that a token has counts.",
        "Use aud, client_id for tokens of Amazon Cognito, or aud, azp for those of Clerk.";
    jwks_uri: StringSetting<Option<Source>> = (None, |text| optional(text, Source::parse_uri)),
        "Where the issuer publishes its keys.",
        "Use https://login.example.com/jwks.json or file:/etc/postgresql/keys.pem.";
    jwks: StringSetting<Option<Source>> = (None, |text| optional(text, Source::parse_inline)).secret(),
        "The issuer's keys, in place of pg_jwks.jwks_uri.",
        "Use a JWK Set: {\"keys\": [...]}.";
    providers: StringSetting<()> = (None, Providers::check).secret(),
        "Issuers with settings of their own.",
        "Use a JSON array such as [{\"issuer\": \"https://login.example.com/\", \"audience\": \"app\"}]. \
         Members are issuer, audience, audience_claim, jwks_uri, jwks, jwks_token_file, allowed_algorithms, required_scope, \
         required_claims, any, user_claim, role_claim, tenant_claim, authn_claim and token_type.";
    allowed_algorithms: StringSetting<Algorithms> = (Some(c_str!(CORE.allowed_algorithms)), Algorithms::parse),
        "Accepted signature algorithms, separated by commas.",
        "Use a list such as RS256, ES256. Symmetric algorithms work with keys from pg_jwks.jwks or a file only.";
    required_scope: StringSetting<()> = (None, check_scopes),
        "Scopes that a token must carry.",
        "Separate scopes with spaces.";
    required_claims: StringSetting<Option<RequiredClaims>> = (None, |text| optional(text, RequiredClaims::parse)),
        "Claims that a token must have, with their values.",
        "Use a JSON object such as {\"hd\": \"example.com\", \"email_verified\": true}; an array lists the values of which \
         one must be there.";
    token_type: EnumSetting<TokenType> = (TokenType::of(CORE.token_type)),
        "Accepted kind of token.",
        "\"access\" accepts only access tokens by RFC 9068, whose \"typ\" is at+jwt.";
    leeway: IntegerSetting<Seconds> = (seconds(CORE.leeway), 0..=MAX_LEEWAY_SECONDS as i32),
        "Allowed clock skew.",
        "A token counts for this long after its \"exp\", and this long before its \"nbf\" and \"iat\".";
    max_token_age: IntegerSetting<Seconds> = (seconds_or_off(CORE.max_token_age), 0..=YEAR),
        "Refuses tokens that were issued longer ago.",
        "A token must have \"iat\" then. 0 turns this off.";
    max_token_lifetime: IntegerSetting<Seconds> = (seconds_or_off(CORE.max_token_lifetime), 0..=YEAR),
        "Refuses tokens that expire later than this.",
        "It counts from the present. 0 turns this off.";

    // Keys.
    jwks_cache_ttl: IntegerSetting<Seconds> = (HOUR, 1..=YEAR),
        "Upper bound of the life of fetched keys.",
        "\"Cache-Control: max-age\" of the issuer's answer shortens it, but not below one minute.";
    jwks_refresh_cooldown: IntegerSetting<Seconds> = (30, 1..=HOUR),
        "The longest wait between two fetches that unknown keys cause.",
        "The first waits are of 1, 2, 4 and so on seconds. The same holds before a failed fetch is tried again.";
    jwks_max_stale: IntegerSetting<Seconds> = (24 * HOUR, 0..=YEAR),
        "How long keys serve while the issuer cannot be reached.",
        "It counts from the last fetch that succeeded.";
    connect_timeout: IntegerSetting<Milliseconds> = (2000, TIMEOUT),
        "Bound of connecting to the issuer.",
        "It is a part of pg_jwks.fetch_timeout.";
    fetch_timeout: IntegerSetting<Milliseconds> = (5000, TIMEOUT),
        "Bound of a whole fetch of keys.",
        "It includes pg_jwks.connect_timeout and discovery at the issuer.";
    ca_file: StringSetting<()> = (None, check::certificate_file),
        "Trust roots for fetching keys, besides those of the system.",
        "Use the absolute path of a PEM file that the server can read.";
    http_proxy: StringSetting<()> = (None, check::proxy).secret(),
        "Proxy for fetching keys.",
        "Use a URL such as http://proxy.example.com:3128. Without one, HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the server's \
         environment count.";
    jwks_token_file: StringSetting<()> = (None, check::absolute_path),
        "File whose content is sent as bearer token when the keys of pg_jwks.issuer are fetched.",
        "Use the absolute path of a file that the server can read. It is read anew for each fetch.";
    allow_insecure_http: BoolSetting = (false),
        "Allows fetching keys without TLS.",
        "It is for tests on one machine only: whoever can change the answer can sign tokens.";
    token_cache_size: IntegerSetting<Count> = (128, 0..=65_536),
        "Number of verified tokens that a session remembers.",
        "The signature of a remembered token is not checked again. 0 turns this off.";
    max_key_sources: IntegerSetting<Count> = (128, 16..=4096).fixed_at_start(),
        "Number of sources of keys that the server keeps at a time, if the library is preloaded.",
        "Each takes 3 kB of shared memory, besides its keys. A change takes effect when the server starts again.";
    shared_cache_size: IntegerSetting<Kilobytes> = (1024, 64..=64 * 1024).fixed_at_start(),
        "Shared memory for keys, if the library is preloaded.",
        "A change takes effect when the server starts again.";

    // Users, roles and tenants.
    user_claim: StringSetting<ClaimPath> = (Some(c_str!(CORE.user_claim)), ClaimPath::parse),
        "Path of the claim that names the user of a token.",
        "Use a claim's name, such as oid for tokens of Microsoft Entra, names with dots between them, or a JSON array of \
         names.";
    role_claim: StringSetting<ClaimPath> = (Some(c_str!(CORE.role_claim)), ClaimPath::parse),
        "Path of the claim that has the roles of a token.",
        "Use a claim's name, names with dots between them (realm_access.roles), or a JSON array of names.";
    role_map: StringSetting<RoleMap> = (None, RoleMap::parse),
        "Database roles for the roles of tokens.",
        "Use a list such as admin=app_admin, writer=app_writer.";
    set_role: BoolSetting = (false),
        "Makes auth.jwt_session_init() set the role that the token names.",
        "It is the first role of pg_jwks.role_map that the token has. The session user must be a member of it.";
    read_only_claim: StringSetting<Option<ClaimPath>> = (None, |text| optional(text, ClaimPath::parse)),
        "Path of the claim that makes an identity read-only, unless it is null or false.",
        "Use a claim's name, names with dots between them (app.read_only), or a JSON array of names.";
    tenant_claim: StringSetting<Option<ClaimPath>> = (None, |text| optional(text, ClaimPath::parse)),
        "Path of the claim that names the tenants of a token, in place of pg_jwks.tenant_lookup.",
        "Use a claim's name, names with dots between them (org.id), or a JSON array of names.";
    tenant_lookup: StringSetting<MembershipTable> = (Some(c"public.users (id, tenant_id)"), MembershipTable::parse),
        "Table that says which tenants a user belongs to.",
        "Use a table with its schema and two columns, such as public.users (id, tenant_id).";
    claim_settings: StringSetting<Vec<ClaimVariable>> = (None, claim_settings::parse).fixed_at_start(),
        "Session variables that show claims, if the library is preloaded.",
        "Use a list such as app.user_id=sub, app.tenant_id=org.id, request.jwt.claims=*.";

    protect_isolation: BoolSetting = (true).for_anybody(),
        "Keeps isolated tables isolated: auth.disable_tenant_isolation() alone undoes it.",
        "Turn it off for a statement that drops or alters policy tenant_isolation on purpose.";
    bypass_roles: StringSetting<()> = (None, check::roles),
        "Roles that are meant to see all rows, separated by commas.",
        "Use a list such as app_owner, worker. It says so to auth.rls_lint(), and gives nobody any right.";

    // Sessions and logins.
    session_scope: EnumSetting<SessionScope> = (SessionScope::Any),
        "How long an identity may last.",
        "\"transaction\" refuses identities for the whole session.";
    on_expiry: EnumSetting<OnExpiry> = (OnExpiry::Error),
        "What happens to a session that uses an expired identity.",
        "\"error\" fails the statement, \"terminate\" ends the session.";
    trust_request_claims: BoolSetting = (false),
        "Believes request.jwt.claims if there is no verified identity.",
        "Whoever can set that variable can be anybody, so it is for databases that only PostgREST connects to.";
    authn_claim: StringSetting<Option<ClaimPath>> = (None, |text| optional(text, ClaimPath::parse)),
        "Path of the claim that says who logs in, if that is not pg_jwks.user_claim.",
        "Use a claim's name, names with dots between them (act.sub), or a JSON array of names.";
    allow_superuser_login: BoolSetting = (false),
        "Lets tokens log in as superusers, replication roles, pg_* roles, and members of powerful ones.",
        "It counts for logins with a token (PostgreSQL 18), whatever maps of roles say.";

    // The audit log.
    audit_log: EnumSetting<AuditLog> = (AuditLog::Rejected),
        "Which decisions about tokens go into the server's log.",
        "\"rejected\" logs rejected tokens, \"all\" logs accepted ones too.";
    audit_claims: StringSetting<Vec<String>> = (None, |text| Ok(list(text))),
        "Claims in the log of accepted tokens, separated by commas.",
        "Use a list of the names of claims, such as sub, email.";
    log_claims: StringSetting<Vec<(String, ClaimPath)>> = (None, named_paths),
        "Claims of the identity in force in the detail of each line of the server's log, separated by commas.",
        "Use a list of claims' names, or names with dots between them, such as sub, org.id.";
}

/// The bytes of a text, and a NUL.
const fn with_nul<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
    bytes
}

/// A default of the core as a number of seconds.
const fn seconds(span: Span) -> i32 {
    let seconds = span.seconds();
    assert!(0 <= seconds && seconds <= YEAR as i64, "a default that cannot be set");
    seconds as i32
}

/// The same; 0 turns off.
const fn seconds_or_off(span: Option<Span>) -> i32 {
    match span {
        Some(span) => seconds(span),
        None => 0,
    }
}
