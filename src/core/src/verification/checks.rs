//! The checks of what a token says of itself, each said once: verifying makes them until one fails, explaining makes all.

use serde_json::Value;

use crate::claims::ClaimSet;
use crate::excerpt::quoted;
use crate::json::ObjectError;
use crate::near_miss::first_difference;
use crate::policy::provider::{Audience, Provider, TokenType};
use crate::rejection::{Check, Reason, Rejection};
use crate::time::{Span, Timestamp};

/// What a token says of itself.
pub(super) struct Stated<'t> {
    /// Its payload.
    pub claims: &'t ClaimSet,
    /// Its kind.
    pub typ: Typ<'t>,
}

/// What is known of the header parameter `typ` (RFC 7515 §4.1.9).
#[derive(Clone, Copy)]
pub(super) enum Typ<'t> {
    /// Its value; `None` if the token has none.
    Stated(Option<&'t str>),
    /// Of a token that was accepted before: whether it was that of access tokens (RFC 9068 §2.1).
    Kept {
        /// Whether it was.
        is_access_token: bool,
    },
}

impl Typ<'_> {
    /// Whether it is that of access tokens.
    pub fn is_access_token(self) -> bool {
        match self {
            Self::Stated(typ) => media_type(typ) == ACCESS_TOKEN,
            Self::Kept { is_access_token } => is_access_token,
        }
    }
}

/// The `typ` of access tokens (RFC 9068 §2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// Media types compare without case, and "application/" may be left out (RFC 7515 §4.1.9).
fn media_type(typ: Option<&str>) -> String {
    let media_type = typ.unwrap_or_default().to_ascii_lowercase();
    media_type.strip_prefix("application/").map(str::to_owned).unwrap_or(media_type)
}

/// One check: the outcome for a token of this provider, now.
pub(super) type CheckOfClaims = fn(&Stated, &Provider, Timestamp) -> Result<(), Rejection>;

/// The checks that follow that of the signature, in order.
pub(super) const CHECKS_OF_CLAIMS: [(Check, CheckOfClaims); 7] = [
    (Check::Claims, |token, provider, _| {
        check_registered(token.claims).and_then(|()| check_user(token.claims, provider))
    }),
    (Check::Expiry, |token, provider, now| check_expiry(token.claims, provider, now)),
    (Check::NotBefore, |token, provider, now| check_not_before(token.claims, provider, now)),
    (Check::Audience, |token, provider, _| check_audience(token.claims, provider)),
    (Check::Scope, |token, provider, _| check_scope(token.claims, provider)),
    (Check::Type, |token, provider, _| check_type(token, provider)),
    (Check::ClaimsRequired, |token, provider, _| check_required_claims(token.claims, provider)),
];

/// The rejection of a token whose payload cannot be read.
pub(super) fn payload_rejection(error: &ObjectError) -> Rejection {
    match error {
        ObjectError::NotAnObject => Rejection::new(Reason::PayloadMalformed, "The payload is not a JSON object."),
        ObjectError::Duplicate => Rejection::new(Reason::DuplicateClaim, "A claim appears twice in the payload."),
    }
}

/// The types of the registered claims (RFC 7519 §4.1).
fn check_registered(claims: &ClaimSet) -> Result<(), Rejection> {
    let malformed = |detail: &str| Err(Rejection::new(Reason::ClaimMalformed, detail));
    if claims.claim("sub").is_some_and(|sub| sub.as_str().is_none_or(str::is_empty)) {
        return malformed("Claim \"sub\" is not a string with at least one character.");
    }
    if claims.claim("aud").is_some_and(|aud| {
        !aud.is_string() && !aud.as_array().is_some_and(|list| list.iter().all(|item| item.is_string()))
    }) {
        return malformed("Claim \"aud\" is neither a string nor an array of strings.");
    }
    for name in ["exp", "nbf", "iat"] {
        if claims.claim(name).is_some_and(|value| Timestamp::from_numeric_date(value).is_none()) {
            let rejection = Rejection::new(
                Reason::ClaimMalformed,
                format!("Claim \"{name}\" is not a number of seconds between the years 1970 and 9999."),
            );
            return Err(rejection.or_hint(claims.claim(name).and_then(number_hint)));
        }
    }
    Ok(())
}

/// The claim that names the user, if it is there.
fn check_user(claims: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
    if !provider.misnames_user(claims) {
        return Ok(());
    }
    let kinds = "neither a string with at least one character nor a whole number of at most 64 bits";
    let detail = format!("Claim {} is {kinds}.", quoted(&provider.user_claim.to_string()));
    Err(Rejection::new(Reason::ClaimMalformed, detail).publicly(format!("The claim that names the user is {kinds}.")))
}

/// That nobody is the user of a token: a full sentence, for a token that is accepted all the same.
pub(super) fn names_nobody(claims: &ClaimSet, provider: &Provider) -> Option<&'static str> {
    provider
        .user(claims)
        .is_none()
        .then_some("The token has no claim that names its user (pg_jwks.user_claim), so auth.user_id() is NULL.")
}

/// What is wrong with a claim that is no NumericDate (RFC 7519 §2): usual mistakes of those who make tokens themselves.
fn number_hint(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("It is a string: make it a number."),
        Value::Number(number) if number.as_f64().is_some_and(|number| number > 253_402_300_799.0) => {
            Some("It seems to be in milliseconds: make it seconds.")
        }
        _ => None,
    }
}

fn moment(claims: &ClaimSet, name: &str) -> Option<Timestamp> {
    claims.claim(name).and_then(Timestamp::from_numeric_date)
}

/// `exp` (RFC 7519 §4.1.4), as far as it may be ahead, and `iat` as far as `pg_jwks.max_token_age` looks back.
pub(super) fn check_expiry(claims: &ClaimSet, provider: &Provider, now: Timestamp) -> Result<(), Rejection> {
    let expires = expires(claims)?;
    if now >= expires + provider.leeway {
        let detail =
            format!("The token expired {} ago; the allowed clock skew is {}.", now.since(expires), provider.leeway);
        return Err(Rejection::new(Reason::Expired, detail));
    }
    check_lifetime(claims, provider, now)?;
    match end(claims, provider)? {
        end if now >= end + provider.leeway => Err(too_old(provider)),
        _ => Ok(()),
    }
}

/// `exp` as far as `pg_jwks.max_token_lifetime` looks ahead.
pub(super) fn check_lifetime(claims: &ClaimSet, provider: &Provider, now: Timestamp) -> Result<(), Rejection> {
    let Some(limit) = provider.max_token_lifetime else { return Ok(()) };
    match expires(claims)? > now + limit + provider.leeway {
        true => Err(Rejection::new(Reason::TooLongLived, format!("Claim \"exp\" must be at most {limit} ahead."))),
        false => Ok(()),
    }
}

/// When a token stops to be accepted, leeway aside: its `exp`, or what `pg_jwks.max_token_age` says if that is earlier.
pub(super) fn end(claims: &ClaimSet, provider: &Provider) -> Result<Timestamp, Rejection> {
    let expires = expires(claims)?;
    match (provider.max_token_age, moment(claims, "iat")) {
        (None, _) => Ok(expires),
        (Some(_), None) => Err(too_old(provider)),
        (Some(limit), Some(issued)) => Ok(expires.min(issued + limit)),
    }
}

fn expires(claims: &ClaimSet) -> Result<Timestamp, Rejection> {
    moment(claims, "exp").ok_or_else(|| Rejection::new(Reason::ExpiryMissing, "Claim \"exp\" is required."))
}

fn too_old(provider: &Provider) -> Rejection {
    let limit = provider.max_token_age.unwrap_or(Span::ZERO);
    Rejection::new(Reason::TooOld, format!("Claim \"iat\" must be present and at most {limit} in the past."))
}

/// `nbf` (RFC 7519 §4.1.5), and `iat`: a token is not issued in the future.
pub(super) fn check_not_before(claims: &ClaimSet, provider: &Provider, now: Timestamp) -> Result<(), Rejection> {
    for name in ["nbf", "iat"] {
        if moment(claims, name).is_some_and(|moment| moment > now + provider.leeway) {
            let detail = format!("Claim \"{name}\" is ahead of the server's clock by more than {}.", provider.leeway);
            return Err(Rejection::new(Reason::NotYetValid, detail)
                .hint("Compare the clocks of the issuer and of the database server."));
        }
    }
    Ok(())
}

/// `aud` (RFC 7519 §4.1.3), or what the operator takes for it.
fn check_audience(claims: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
    match &provider.audience {
        Audience::Any => Ok(()),
        Audience::Unset => Err(Rejection::new(
            Reason::AudienceNotConfigured,
            "Without an audience, tokens that were issued for other applications would be accepted.",
        )
        .hint("Set pg_jwks.audience to the \"aud\" of your tokens, or to '*' to accept any.")),
        Audience::OneOf(accepted) => {
            let decides = provider.audience_claims.iter().find(|path| claims.at(path).is_some());
            let own = || decides.into_iter().flat_map(|path| claims.strings_at(path));
            if own().any(|own| accepted.iter().any(|name| name == own)) {
                return Ok(());
            }
            let names: Vec<_> = accepted.iter().map(|name| format!("\"{name}\"")).collect();
            let claim = match decides {
                Some(path) => format!("Claim \"{path}\""),
                None => {
                    let paths: Vec<_> = provider.audience_claims.iter().map(|path| format!("\"{path}\"")).collect();
                    format!("Claim {}", paths.join(" or "))
                }
            };
            let detail = format!("{claim} must have {}.", names.join(" or "));
            // Of other claims nothing is told.
            let is_aud = decides.or(provider.audience_claims.first()).is_some_and(|path| path.to_string() == "aud");
            let told = || own().filter(|_| is_aud);
            Err(Rejection::new(Reason::AudienceNotAccepted, detail)
                .publicly(match is_aud {
                    true => "Claim \"aud\" has no accepted audience.",
                    false => "The token has no accepted audience.",
                })
                .instead_of(told())
                .near_miss(first_difference(told(), accepted.iter().map(String::as_str)))
                .or_hint(id_token_hint(claims)))
        }
    }
}

/// What to do about an ID token (OpenID Connect Core 1.0 §3.1.3.6), which says to its client who the user is.
fn id_token_hint(claims: &ClaimSet) -> Option<&'static str> {
    let of_id_tokens = ["at_hash", "c_hash", "nonce"];
    of_id_tokens.iter().any(|name| claims.claim(name).is_some()).then_some(
        "This looks like an ID token, which is meant for the application alone: send the access token instead.",
    )
}

/// The required scopes (RFC 8693 §4.2).
fn check_scope(claims: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
    match provider.required_scope.iter().find(|scope| !claims.has_scope(scope)) {
        None => Ok(()),
        Some(scope) => Err(Rejection::new(Reason::ScopeMissing, format!("The token must carry scope \"{scope}\"."))
            .publicly("The token must carry another scope.")
            .or_hint(id_token_hint(claims))),
    }
}

/// The claims that the operator requires.
fn check_required_claims(claims: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
    match provider.required_claims.missing(claims) {
        None => Ok(()),
        Some((path, values)) => {
            Err(Rejection::new(Reason::ClaimRequired, format!("Claim {} must be {values}.", quoted(&path.to_string())))
                .publicly("A claim that the server requires is missing, or has another value."))
        }
    }
}

/// Values of `typ` of tokens that say something else than who the bearer is: back-channel logout (OpenID Connect
/// Back-Channel Logout 1.0 §2.4), security events (RFC 8417 §2.3), proofs of possession (RFC 9449 §4.2), answers to
/// introspection (RFC 9701 §5), statements about entities (OpenID Federation 1.0 §3).
const TYPES_OF_OTHER_USES: [&str; 5] =
    ["logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", "entity-statement+jwt"];

/// `typ`: never that of another use (RFC 8725 §3.11), and that of access tokens if it is required (RFC 9068 §4).
fn check_type(token: &Stated, provider: &Provider) -> Result<(), Rejection> {
    let typ = token.typ;
    if let Typ::Stated(typ) = typ {
        check_use(typ)?;
    }
    if provider.token_type == TokenType::Any || typ.is_access_token() {
        return Ok(());
    }
    let detail = format!("Header parameter \"typ\" must be \"{ACCESS_TOKEN}\".");
    let rejection = Rejection::new(Reason::TypeNotAccepted, detail)
        .publicly("Header parameter \"typ\" is not that of an accepted kind of token.")
        .or_hint(id_token_hint(token.claims));
    Err(match typ {
        Typ::Stated(typ) => rejection.instead_of(typ),
        Typ::Kept { .. } => rejection,
    })
}

fn check_use(typ: Option<&str>) -> Result<(), Rejection> {
    let media_type = media_type(typ);
    let without_parameters = media_type.split(';').next().unwrap_or_default().trim();
    match TYPES_OF_OTHER_USES.iter().find(|other| **other == without_parameters) {
        None => Ok(()),
        Some(other) => {
            let detail = format!("Header parameter \"typ\" is \"{other}\": such a token is no identity.");
            Err(Rejection::new(Reason::TypeNotAccepted, detail))
        }
    }
}
