//! The one way in: from an unverified token to claims.

use std::sync::Arc;

use crate::bounds::MAX_CANDIDATE_KEYS;
use crate::claims::ClaimSet;
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::{Candidates, KeySet};
use crate::jose::key::Key;
use crate::jose::token::Unverified;
use crate::json::{ObjectError, ascii_escaped};
use crate::policy::provider::{Audience, Provider, Source, TokenType};
use crate::policy::providers::Providers;
use crate::rejection::{Reason, Rejection};
use crate::time::Timestamp;

/// Where the keys of a provider come from. The caller does the I/O, the caching and the waiting.
pub trait Keys {
    /// The keys in force; the error is [`Reason::KeysUnavailable`] or [`Reason::KeySourceNotConfigured`].
    fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection>;

    /// Called when the keys in force do not know a token's key: newer keys, or `None` where none may be fetched now.
    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection>;
}

/// A token whose signature was made by a key of its issuer.
#[derive(Debug)]
pub struct Verified<'t> {
    token: Unverified<'t>,
    keys: Arc<KeySet>,
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

/// Verifies a token: every check of [`crate::rejection::Check`], in order. The error is that of the first that fails.
/// Keys are asked for only where the token's issuer is trusted and may use its algorithm.
pub fn verify(token: &[u8], providers: &Providers, keys: &mut dyn Keys, now: Timestamp) -> Result<Claims, Rejection> {
    let token = Unverified::parse(token)?;
    // Which algorithms are allowed depends on the issuer, but one that is allowed to none needs none to be refused.
    token.some_algorithm(providers)?;
    let provider = token.provider(providers)?;
    let algorithm = token.algorithm(provider)?;
    token.verified(provider, algorithm, keys)?.claims(provider, now)
}

impl<'t> Unverified<'t> {
    /// Whether at least one issuer may use the token's algorithm; the error is that of one which may not. `Ok` where
    /// no issuer is configured.
    pub(crate) fn some_algorithm(&self, providers: &Providers) -> Result<(), Rejection> {
        let all = providers.all();
        let judge = all.iter().find(|provider| self.allowed_algorithm(provider).is_some()).or(all.first());
        judge.map_or(Ok(()), |provider| self.algorithm(provider).map(drop))
    }

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
        self.allowed_algorithm(provider).ok_or_else(|| {
            let detail = format!("Header parameter \"alg\" must be one of {}.", provider.algorithms);
            Rejection::new(Reason::AlgorithmNotAllowed, detail)
        })
    }

    fn allowed_algorithm(&self, provider: &Provider) -> Option<Algorithm> {
        self.header.alg.parse().ok().filter(|algorithm| provider.algorithms.contains(*algorithm))
    }

    /// Checks the signature.
    fn verified(
        self,
        provider: &Provider,
        algorithm: Algorithm,
        keys: &mut dyn Keys,
    ) -> Result<Verified<'t>, Rejection> {
        let keys = self.signing_keys(provider, algorithm, keys)?;
        Ok(Verified { token: self, keys })
    }

    /// The key set with the key that made the signature: the one in force, or a newer one where that one does not
    /// know the token's key.
    pub(crate) fn signing_keys(
        &self,
        provider: &Provider,
        algorithm: Algorithm,
        keys: &mut dyn Keys,
    ) -> Result<Arc<KeySet>, Rejection> {
        let kid = self.header.kid.as_deref();
        let current = keys.current(provider)?;
        let candidates = current.candidates(kid, algorithm);
        let signed = self.signed_by(&candidates, algorithm);
        // A key without a name can have been replaced unnoticed.
        let replaceable = match candidates {
            Candidates::Named(_) | Candidates::Ambiguous => false,
            Candidates::Only(_) | Candidates::None => !kid.is_some_and(|kid| current.knows(kid)),
        };
        if signed.is_err()
            && replaceable
            && let Some(newer) = keys.newer(provider)?
        {
            self.signed_by(&newer.candidates(kid, algorithm), algorithm)?;
            return Ok(newer);
        }
        signed.map(|()| current)
    }

    /// Whether one of these keys made the signature.
    fn signed_by(&self, candidates: &Candidates, algorithm: Algorithm) -> Result<(), Rejection> {
        let made = |key: &Key| key.made(&self.signature, self.signing_input.as_bytes(), algorithm);
        let signed = match candidates {
            Candidates::Named(keys) => keys.iter().take(MAX_CANDIDATE_KEYS).any(|key| made(key)),
            Candidates::Only(key) => made(key),
            Candidates::Ambiguous => {
                return Err(Rejection::new(
                    Reason::KeyAmbiguous,
                    "The token has no \"kid\" that tells the issuer's keys apart, and several fit its algorithm.",
                ));
            }
            Candidates::None => {
                return Err(Rejection::new(
                    Reason::KeyUnknown,
                    format!("The issuer publishes no key for {} with the token's \"kid\".", algorithm.name()),
                ));
            }
        };
        match signed {
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
    fn claims(self, provider: &Provider, now: Timestamp) -> Result<Claims, Rejection> {
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
        Ok(Claims { json, set, expires, keys: self.keys })
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
