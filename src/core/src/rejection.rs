//! Why a token is not accepted: a stable reason, and a sentence that says what was expected.

use std::fmt;

use crate::excerpt::quoted;

/// The checks of a token, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Size, three parts, strict base64url, header a JSON object.
    Format,
    /// `alg` is allowed.
    Algorithm,
    /// `iss` is a configured issuer.
    Issuer,
    /// A key of the issuer fits the token.
    Key,
    /// The key made the signature.
    Signature,
    /// The payload is a JSON object whose registered claims have their types.
    Claims,
    /// `exp` is present and ahead; the token is not older than allowed.
    Expiry,
    /// `nbf` and `iat` are not ahead.
    NotBefore,
    /// `aud` names an accepted audience.
    Audience,
    /// The required scopes are there.
    Scope,
    /// `typ` is the required token type, and not that of another use.
    Type,
    /// The required claims are there, with their values.
    ClaimsRequired,
    /// The token was not revoked. The core does not know revocations, so its caller makes this check.
    Revocation,
    /// The token names a role that its session may have. The core does not know the roles, so its caller makes this check.
    Role,
}

impl Check {
    /// All checks, in order.
    pub const ALL: [Check; 14] = [
        Check::Format,
        Check::Algorithm,
        Check::Issuer,
        Check::Key,
        Check::Signature,
        Check::Claims,
        Check::Expiry,
        Check::NotBefore,
        Check::Audience,
        Check::Scope,
        Check::Type,
        Check::ClaimsRequired,
        Check::Revocation,
        Check::Role,
    ];

    /// The name that `auth.jwt_explain` prints.
    pub fn name(self) -> &'static str {
        match self {
            Check::Format => "format",
            Check::Algorithm => "algorithm",
            Check::Issuer => "issuer",
            Check::Key => "key",
            Check::Signature => "signature",
            Check::Claims => "claims",
            Check::Expiry => "expiry",
            Check::NotBefore => "not_before",
            Check::Audience => "audience",
            Check::Scope => "scope",
            Check::Type => "type",
            Check::ClaimsRequired => "claims_required",
            Check::Revocation => "revocation",
            Check::Role => "role",
        }
    }
}

/// What a caller can do about a rejection; the edge maps it to a SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The text is no JWT: a defect of the sender.
    Malformed,
    /// A well-formed token that is not accepted.
    Rejected,
    /// The server lacks a setting or its keys: nothing is wrong with the token as far as is known.
    Unavailable,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident => $class:ident, $check:ident, $text:literal;)*) => {
        /// A stable reason. Its text never changes, so that logs and tests can rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The stable text.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// What a caller can do about it.
            pub fn class(self) -> Class {
                match self { $(Reason::$name => Class::$class,)* }
            }

            /// The check that gives this reason.
            pub fn check(self) -> Check {
                match self { $(Reason::$name => Check::$check,)* }
            }
        }
    };
}

reasons! {
    /// NULL was given for the token.
    TokenMissing => Malformed, Format, "token missing";
    /// Longer than [`crate::bounds::MAX_TOKEN_BYTES`].
    TokenTooLarge => Malformed, Format, "token too large";
    /// Not the compact serialization of RFC 7515 §7.1.
    NotCompact => Malformed, Format, "not three parts";
    /// A part is not unpadded base64url (RFC 7515 §2).
    NotBase64Url => Malformed, Format, "not base64url";
    /// The header is not a JSON object with unique members, or `alg`, `kid` or `typ` is not a string.
    HeaderMalformed => Malformed, Format, "malformed header";
    /// The header has `crit` (RFC 7515 §4.1.11); no extension is understood.
    CriticalHeader => Rejected, Format, "critical header not understood";
    /// `alg` is `none`, unknown, or not in `pg_jwks.allowed_algorithms` (RFC 8725 §3.1).
    AlgorithmNotAllowed => Rejected, Algorithm, "algorithm not allowed";
    /// The settings contradict each other, or one of them could not be applied.
    SettingsInvalid => Unavailable, Issuer, "settings invalid";
    /// No issuer is configured at all.
    IssuerNotConfigured => Unavailable, Issuer, "no issuer configured";
    /// The issuer that the matching line of `pg_hba.conf` names is not configured.
    LineIssuerNotConfigured => Unavailable, Issuer, "issuer of pg_hba.conf not configured";
    /// The issuer that the PAM service of the matching line names is not configured.
    ServiceIssuerNotConfigured => Unavailable, Issuer, "issuer of PAM service not configured";
    /// `iss` is missing or no configured issuer (RFC 8725 §3.8), or not that of the login's rule.
    IssuerNotAccepted => Rejected, Issuer, "issuer not accepted";
    /// The issuer has neither keys nor a place to fetch them from.
    KeySourceNotConfigured => Unavailable, Key, "no key source configured";
    /// No keys could be had, and none that were had before may still be used.
    KeysUnavailable => Unavailable, Key, "keys unavailable";
    /// The issuer has no key of this `kid` that fits the algorithm.
    KeyUnknown => Rejected, Key, "key unknown";
    /// No `kid` tells the keys apart that fit, and none of the first [`crate::bounds::MAX_CANDIDATE_KEYS`] of them made
    /// the signature.
    KeyAmbiguous => Rejected, Key, "key ambiguous";
    /// The key did not make this signature.
    SignatureInvalid => Rejected, Signature, "signature invalid";
    /// The payload is not a JSON object.
    PayloadMalformed => Malformed, Claims, "malformed payload";
    /// A claim appears twice.
    DuplicateClaim => Malformed, Claims, "duplicate claim";
    /// A registered claim is not of its type (RFC 7519 §4.1).
    ClaimMalformed => Malformed, Claims, "malformed claim";
    /// No `exp`.
    ExpiryMissing => Rejected, Expiry, "expiry missing";
    /// `exp` is not ahead of the present (RFC 7519 §4.1.4).
    Expired => Rejected, Expiry, "token expired";
    /// `iat` is further back than `pg_jwks.max_token_age`, or missing though that is set.
    TooOld => Rejected, Expiry, "token too old";
    /// `exp` is further off than `pg_jwks.max_token_lifetime`.
    TooLongLived => Rejected, Expiry, "token valid too long";
    /// `nbf` (RFC 7519 §4.1.5) or `iat` is ahead of the present.
    NotYetValid => Rejected, NotBefore, "token not yet valid";
    /// No audience is configured.
    AudienceNotConfigured => Unavailable, Audience, "no audience configured";
    /// `aud` is missing or names no accepted audience (RFC 7519 §4.1.3).
    AudienceNotAccepted => Rejected, Audience, "audience not accepted";
    /// A required scope is missing (RFC 8693 §4.2, RFC 9068 §2.2.3).
    ScopeMissing => Rejected, Scope, "scope missing";
    /// A claim of `pg_jwks.required_claims` is missing, or has another value.
    ClaimRequired => Rejected, ClaimsRequired, "required claim missing";
    /// An entry of `auth.revocations` means the token.
    Revoked => Rejected, Revocation, "token revoked";
    /// Who assumed the identity may not do so any more.
    AssumptionRevoked => Rejected, Revocation, "privilege to assume identities revoked";
    /// A logout token that was presented before (OpenID Connect Back-Channel Logout 1.0 §2.6).
    LogoutRepeated => Rejected, Revocation, "logout token used before";
    /// The token names no role that it could be mapped to, or one that the database does not have.
    RoleNotAccepted => Rejected, Role, "role not accepted";
    /// The requested role is a superuser or may replicate, itself or by membership, may use files or programs of the
    /// server, or is PostgreSQL's own.
    RoleReserved => Rejected, Role, "role reserved";
    /// The claim that says who logs in is missing or cannot be a name.
    LoginNameMissing => Rejected, Claims, "login name missing";
    /// `typ` is that of a token for another use (RFC 8725 §3.11), or not `at+jwt` (RFC 9068 §4) though that is required.
    TypeNotAccepted => Rejected, Type, "token type not accepted";
}

/// A rejection of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The stable reason.
    pub reason: Reason,
    /// What was expected, in full sentences. Of the token it has `iss`, `aud`, `alg`, `kid` and `typ` at most.
    pub detail: String,
    /// What to do about it, as a full sentence, if that is known.
    pub hint: Option<String>,
    /// The detail for those who may not know the values of settings; `None` if it has none of them.
    public_detail: Option<String>,
}

impl Rejection {
    /// A rejection without a hint, whose detail everybody may read.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), hint: None, public_detail: None }
    }

    /// The same with a hint. It has no values of settings.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with a hint if there is one.
    pub(crate) fn or_hint(self, hint: Option<&str>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// The same with another detail for those who may not know the values of settings.
    pub fn publicly(self, detail: impl Into<String>) -> Self {
        Self { public_detail: Some(detail.into()), ..self }
    }

    /// The same with what the token has in place of what was expected, for everybody.
    pub(crate) fn instead_of<'t>(self, values: impl IntoIterator<Item = &'t str>) -> Self {
        let quoted: Vec<_> = values.into_iter().take(MOST_VALUES).map(quoted).collect();
        let has = match quoted.is_empty() {
            true => " The token has none.".to_owned(),
            false => format!(" The token has {}.", quoted.join(", ")),
        };
        Self { detail: self.detail + &has, public_detail: self.public_detail.map(|detail| detail + &has), ..self }
    }

    /// The same with what all but fits. It tells something of the settings.
    pub(crate) fn near_miss(self, words: Option<&str>) -> Self {
        let Some(words) = words else { return self };
        let public_detail = self.public_detail.or_else(|| Some(self.detail.clone()));
        Self { detail: format!("{} {words}", self.detail), public_detail, ..self }
    }

    /// What may be told to those who may not know the values of settings.
    pub fn without_settings(self) -> Self {
        Self { detail: self.public_detail.unwrap_or(self.detail), public_detail: None, ..self }
    }
}

/// Values of a token that a detail repeats: whoever made it chose how many there are.
const MOST_VALUES: usize = 8;

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.text(), self.detail)
    }
}
