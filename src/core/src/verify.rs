//! The one way in: from an unverified token to claims.

use std::sync::Arc;

use crate::algorithm::Algorithm;
use crate::bounds::MAX_CANDIDATE_KEYS;
use crate::claims::ClaimSet;
use crate::json::{ObjectError, ascii_escaped};
use crate::jwks::{Candidates, KeySet};
use crate::key::Key;
use crate::policy::{Audience, Provider, Source, TokenType};
use crate::providers::Providers;
use crate::rejection::{Reason, Rejection};
use crate::time::Timestamp;
use crate::token::Unverified;

/// Where the keys of a provider come from. The caller does the I/O, the caching and the waiting.
pub trait Keys {
    /// The keys in force.
    fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection>;

    /// Called when the keys in force do not know a token's key: newer keys, or `None` where none may be fetched now.
    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection>;
}

/// A payload whose signature was made by a key of its issuer.
#[derive(Debug)]
pub struct Verified<'t> {
    token: Unverified<'t>,
}

/// The claims of a token that passed every check.
#[derive(Clone, Debug)]
pub struct Claims {
    json: String,
    set: ClaimSet,
    expires: Timestamp,
    keys: Arc<KeySet>,
}

impl Claims {
    /// The payload as it was signed, with characters above ASCII as `\uXXXX`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The claims.
    pub fn set(&self) -> &ClaimSet {
        &self.set
    }

    /// `exp`.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The keys that vouch for them: when others are in force, the claims must be verified again.
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }
}

/// Verifies a token: every check of [`crate::rejection::Check`], in order.
pub fn verify(token: &[u8], providers: &Providers, keys: &mut dyn Keys, now: Timestamp) -> Result<Claims, Rejection> {
    let token = Unverified::parse(token)?;
    let provider = token.provider(providers)?;
    let algorithm = token.algorithm(provider)?;
    let mut set = keys.current(provider)?;
    if token.misses(&set, algorithm)
        && let Some(newer) = keys.newer(provider)?
    {
        set = newer;
    }
    let verified = token.verify(&set, algorithm)?;
    verified.claims(provider, set, now)
}

impl<'t> Unverified<'t> {
    /// The configured issuer that the token names; before any key is looked at or fetched.
    pub(crate) fn provider<'p>(&self, providers: &'p Providers) -> Result<&'p Provider, Rejection> {
        if providers.all().is_empty() {
            return Err(Rejection::new(
                Reason::IssuerNotConfigured,
                "No issuer is trusted, so no token can be accepted.",
            )
            .hint("Set pg_jwks.issuer or pg_jwks.providers."));
        }
        if let Err(error) = &self.members {
            return Err(payload_rejection(error));
        }
        self.issuer().and_then(|issuer| providers.of_issuer(issuer)).ok_or_else(|| {
            let names: Vec<_> = providers.all().iter().map(|provider| format!("\"{}\"", provider.issuer)).collect();
            let detail = format!("Claim \"iss\" must be exactly {}.", names.join(" or "));
            Rejection::new(Reason::IssuerNotAccepted, detail)
        })
    }

    /// The token's algorithm, where the provider may use it.
    pub(crate) fn algorithm(&self, provider: &Provider) -> Result<Algorithm, Rejection> {
        let algorithm = self.header.alg.parse().ok().filter(|algorithm| provider.algorithms.contains(*algorithm));
        algorithm.ok_or_else(|| {
            let detail = format!("Header parameter \"alg\" must be one of {}.", provider.algorithms);
            Rejection::new(Reason::AlgorithmNotAllowed, detail)
        })
    }

    /// Whether newer keys could make a difference: no key fits, or the only one that does goes by no name and did
    /// not make the signature.
    pub(crate) fn misses(&self, set: &KeySet, algorithm: Algorithm) -> bool {
        match set.candidates(self.header.kid.as_deref(), algorithm) {
            Candidates::Named(_) | Candidates::Ambiguous => false,
            Candidates::Only(key) => !self.made_by(key, algorithm),
            Candidates::None => true,
        }
    }

    /// The keys that may have made the signature.
    pub(crate) fn keys<'k>(&self, set: &'k KeySet, algorithm: Algorithm) -> Result<Vec<&'k Key>, Rejection> {
        match set.candidates(self.header.kid.as_deref(), algorithm) {
            Candidates::Named(keys) => Ok(keys),
            Candidates::Only(key) => Ok(vec![key]),
            Candidates::Ambiguous => Err(Rejection::new(
                Reason::KeyAmbiguous,
                "The token has no \"kid\" that tells the issuer's keys apart, and several fit its algorithm.",
            )),
            Candidates::None => Err(Rejection::new(
                Reason::KeyUnknown,
                format!("The issuer publishes no key for {} with the token's \"kid\".", algorithm.name()),
            )),
        }
    }

    pub(crate) fn made_by(&self, key: &Key, algorithm: Algorithm) -> bool {
        key.made(self.signature, self.signing_input.as_bytes(), algorithm)
    }

    /// Checks the signature.
    fn verify(self, set: &KeySet, algorithm: Algorithm) -> Result<Verified<'t>, Rejection> {
        self.signed(set, algorithm)?;
        Ok(Verified { token: self })
    }

    /// Whether a key of the set made the signature.
    pub(crate) fn signed(&self, set: &KeySet, algorithm: Algorithm) -> Result<(), Rejection> {
        let keys = self.keys(set, algorithm)?;
        match keys.iter().take(MAX_CANDIDATE_KEYS).any(|key| self.made_by(key, algorithm)) {
            true => Ok(()),
            false => Err(Rejection::new(
                Reason::SignatureInvalid,
                "The signature was not made by the issuer's key over this token.",
            )),
        }
    }
}

impl Verified<'_> {
    /// Checks everything that the payload and the header's `typ` say.
    fn claims(self, provider: &Provider, keys: Arc<KeySet>, now: Timestamp) -> Result<Claims, Rejection> {
        let Unverified { header, payload, members, .. } = self.token;
        let set = ClaimSet::new(members.map_err(|error| payload_rejection(&error))?);
        check_claims(&set)?;
        let expires = check_expiry(&set, provider, now)?;
        check_not_before(&set, provider, now)?;
        check_audience(&set, provider)?;
        check_scope(&set, provider)?;
        check_type(header.typ.as_deref(), provider)?;
        // The payload parsed as JSON, so it is UTF-8.
        let json = ascii_escaped(&String::from_utf8_lossy(&payload));
        Ok(Claims { json, set, expires, keys })
    }
}

impl Claims {
    /// Whether claims that were accepted before still are: only the time has moved.
    pub fn recheck(&self, provider: &Provider, now: Timestamp) -> Result<(), Rejection> {
        check_expiry(&self.set, provider, now)?;
        check_not_before(&self.set, provider, now)
    }
}

pub(crate) fn payload_rejection(error: &ObjectError) -> Rejection {
    match error {
        ObjectError::NotAnObject => Rejection::new(Reason::PayloadMalformed, "The payload is not a JSON object."),
        ObjectError::Duplicate => Rejection::new(Reason::DuplicateClaim, "A claim appears twice in the payload."),
    }
}

/// The types of the registered claims (RFC 7519 §4.1).
pub(crate) fn check_claims(set: &ClaimSet) -> Result<(), Rejection> {
    let malformed = |detail: &str| Err(Rejection::new(Reason::ClaimMalformed, detail));
    if set.claim("sub").is_some_and(|sub| sub.as_str().is_none_or(str::is_empty)) {
        return malformed("Claim \"sub\" is not a string with at least one character.");
    }
    if set.claim("aud").is_some_and(|aud| {
        !aud.is_string() && !aud.as_array().is_some_and(|list| list.iter().all(|item| item.is_string()))
    }) {
        return malformed("Claim \"aud\" is neither a string nor an array of strings.");
    }
    for name in ["exp", "nbf", "iat"] {
        if set.claim(name).is_some_and(|value| Timestamp::from_numeric_date(value).is_none()) {
            return malformed(&format!("Claim \"{name}\" is not a number of seconds between the years 1970 and 9999."));
        }
    }
    Ok(())
}

fn moment(set: &ClaimSet, name: &str) -> Option<Timestamp> {
    set.claim(name).and_then(Timestamp::from_numeric_date)
}

pub(crate) fn check_expiry(set: &ClaimSet, provider: &Provider, now: Timestamp) -> Result<Timestamp, Rejection> {
    let Some(expires) = moment(set, "exp") else {
        return Err(Rejection::new(Reason::ExpiryMissing, "Claim \"exp\" is required."));
    };
    if now >= expires + provider.leeway {
        let detail =
            format!("The token expired {} ago; the allowed clock skew is {}.", now.since(expires), provider.leeway);
        return Err(Rejection::new(Reason::Expired, detail));
    }
    if let Some(limit) = provider.max_token_age {
        let issued = moment(set, "iat");
        if issued.is_none_or(|issued| now >= issued + limit + provider.leeway) {
            let detail = format!("Claim \"iat\" must be present and at most {limit} in the past.");
            return Err(Rejection::new(Reason::TooOld, detail));
        }
    }
    Ok(expires)
}

pub(crate) fn check_not_before(set: &ClaimSet, provider: &Provider, now: Timestamp) -> Result<(), Rejection> {
    for name in ["nbf", "iat"] {
        if moment(set, name).is_some_and(|moment| moment > now + provider.leeway) {
            let detail = format!("Claim \"{name}\" is ahead of the server's clock by more than {}.", provider.leeway);
            return Err(Rejection::new(Reason::NotYetValid, detail)
                .hint("Compare the clocks of the issuer and of the database server."));
        }
    }
    Ok(())
}

pub(crate) fn check_audience(set: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
    match &provider.audience {
        Audience::Any => Ok(()),
        Audience::Unset => Err(Rejection::new(
            Reason::AudienceNotConfigured,
            "Without an audience, tokens that were issued for other applications would be accepted.",
        )
        .hint("Set pg_jwks.audience to the \"aud\" of your tokens, or to '*' to accept any.")),
        Audience::OneOf(accepted) => {
            if set.audiences().any(|own| accepted.iter().any(|name| name == own)) {
                return Ok(());
            }
            let names: Vec<_> = accepted.iter().map(|name| format!("\"{name}\"")).collect();
            Err(Rejection::new(Reason::AudienceNotAccepted, format!("Claim \"aud\" must have {}.", names.join(" or "))))
        }
    }
}

pub(crate) fn check_scope(set: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
    match provider.required_scope.iter().find(|scope| !set.has_scope(scope)) {
        None => Ok(()),
        Some(scope) => Err(Rejection::new(Reason::ScopeMissing, format!("The token must carry scope \"{scope}\"."))),
    }
}

pub(crate) fn check_type(typ: Option<&str>, provider: &Provider) -> Result<(), Rejection> {
    // Media types compare without case, and "application/" may be left out (RFC 7515 §4.1.9).
    let access = typ.is_some_and(|typ| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").unwrap_or(&typ) == "at+jwt"
    });
    match provider.token_type == TokenType::Any || access {
        true => Ok(()),
        false => Err(Rejection::new(Reason::TypeNotAccepted, "Header parameter \"typ\" must be \"at+jwt\".")),
    }
}

/// The rejection where a provider has no source of keys.
pub fn no_key_source(provider: &Provider) -> Option<Rejection> {
    matches!(provider.source, Source::Unset).then(|| {
        let detail = format!("Issuer \"{}\" is not a URL, so its keys cannot be discovered.", provider.issuer);
        Rejection::new(Reason::KeySourceNotConfigured, detail).hint("Set pg_jwks.jwks_uri or pg_jwks.jwks.")
    })
}
