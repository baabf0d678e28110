//! The one way in: from an unverified token to claims.

use std::ops::Deref;
use std::sync::Arc;

use crate::bounds::MAX_CANDIDATE_KEYS;
use crate::claims::ClaimSet;
use crate::digest::{Digest, digest};
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::{Candidates, KeySet};
use crate::jose::key::Key;
use crate::jose::token::Unverified;
use crate::json::AsciiJson;
use crate::policy::provider::{Provider, Source};
use crate::policy::providers::Providers;
use crate::rejection::{Reason, Rejection};
use crate::time::Timestamp;
use crate::verification::checks::{
    CHECKS_OF_CLAIMS, Stated, Typ, check_expiry, check_not_before, end, names_nobody, payload_rejection,
};
use crate::verification::judgement::{Evidence, trusted_issuer};

/// Where the keys of a provider come from. The caller does the I/O, the caching and the waiting.
pub trait Keys {
    /// The keys in force; the error is [`Reason::KeysUnavailable`] or [`Reason::KeySourceNotConfigured`].
    fn current(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Rejection>;

    /// Called if the keys in force do not know a token's key: newer keys, or `None` if none may be fetched now.
    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection>;

    /// When keys were last looked for and when they are next, as a full sentence for everybody; `None` if they are not
    /// fetched.
    fn last_and_next_look(&mut self, _provider: &Provider) -> Option<String> {
        None
    }
}

/// The claims of a token that passed every check. [`verify`] alone makes them.
#[derive(Clone, Debug)]
pub struct VerifiedClaims {
    claims: Arc<ClaimSet>,
    json: AsciiJson,
    verified: Timestamp,
    expires: Timestamp,
    end: Timestamp,
    evidence: Evidence,
    provider: Arc<Provider>,
    keys: Arc<KeySet>,
}

impl VerifiedClaims {
    /// The payload as it was signed, with characters above ASCII as `\uXXXX`.
    pub fn json(&self) -> &AsciiJson {
        &self.json
    }

    /// The claims themselves, to be shared.
    pub fn claims(&self) -> &Arc<ClaimSet> {
        &self.claims
    }

    /// `exp` (RFC 7519 §4.1.4).
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// When they stop to be accepted, leeway aside: `exp`, or what `pg_jwks.max_token_age` says if that is earlier.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// What the token had beside its claims, by which they can be judged again.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// The issuer, and what was asked of its tokens.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// That nobody is their user, if that is so, as a full sentence.
    pub fn names_nobody(&self) -> Option<&'static str> {
        names_nobody(&self.claims, &self.provider)
    }

    /// The keys that vouch for them.
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// Whether the claims may still be believed under the same settings, since time has passed and keys may have been
    /// withdrawn. `false` if other keys are in force: then the token must be verified again. The error is that of the
    /// check that fails now.
    pub fn recheck(&self, keys: &mut dyn Keys, now: Timestamp) -> Result<bool, Rejection> {
        if !Arc::ptr_eq(&keys.current(&self.provider)?, &self.keys) {
            return Ok(false);
        }
        // Between that time and their end nothing else comes of the same settings.
        if (self.verified..self.end + self.provider.leeway).contains(&now) {
            return Ok(true);
        }
        check_expiry(&self.claims, &self.provider, now)?;
        check_not_before(&self.claims, &self.provider, now)?;
        Ok(true)
    }
}

impl Deref for VerifiedClaims {
    type Target = ClaimSet;

    fn deref(&self) -> &ClaimSet {
        &self.claims
    }
}

/// Verifies a token: every check of [`crate::rejection::Check`] but those that its caller makes, in order. The error is that of the first that fails.
/// Keys are asked for only if the token's issuer is trusted and may use its algorithm.
pub fn verify(
    token: &[u8],
    providers: &Providers,
    keys: &mut dyn Keys,
    now: Timestamp,
) -> Result<VerifiedClaims, Rejection> {
    signed(token, providers, keys)?.claims(now)
}

/// A token whose issuer is trusted and made its signature; nothing else is known of it.
pub(super) fn signed<'t, 'p>(
    token: &'t [u8],
    providers: &'p Providers,
    keys: &mut dyn Keys,
) -> Result<Signed<'t, 'p>, Rejection> {
    let token = Unverified::parse(token)?;
    // Which algorithms are allowed depends on the issuer, but one that is allowed to none needs none to be refused.
    token.some_algorithm(providers)?;
    let provider = token.provider(providers)?;
    let algorithm = token.algorithm(provider)?;
    let (keys, key) = token.signing_keys(provider, algorithm, keys)?;
    Ok(Signed { token, provider, keys, algorithm, key })
}

/// A token whose signature was made by a key of its issuer.
pub(super) struct Signed<'t, 'p> {
    pub token: Unverified<'t>,
    pub provider: &'p Arc<Provider>,
    keys: Arc<KeySet>,
    algorithm: Algorithm,
    /// The key itself.
    key: Digest,
}

impl Signed<'_, '_> {
    /// Checks everything that the payload and the header's `typ` say.
    fn claims(self, now: Timestamp) -> Result<VerifiedClaims, Rejection> {
        let Unverified { header, payload, claims, .. } = self.token;
        let claims = claims.map_err(|error| payload_rejection(&error))?;
        let typ = Typ::Stated(header.typ.as_deref());
        let stated = Stated { claims: &claims, typ };
        for (_, check) in CHECKS_OF_CLAIMS {
            check(&stated, self.provider, now)?;
        }
        let end = end(&claims, self.provider)?;
        let Some(expires) = claims.expires() else { unreachable!("checked with the expiry") };
        let evidence = Evidence {
            algorithm: self.algorithm,
            key: self.key,
            kid: header.kid.as_deref().map(|kid| digest(kid.as_bytes())),
            is_access_token: typ.is_access_token(),
        };
        let Ok(json) = String::from_utf8(payload) else { unreachable!("it parsed as JSON") };
        Ok(VerifiedClaims {
            claims: Arc::new(claims),
            json: AsciiJson::of(json),
            verified: now,
            expires,
            end,
            evidence,
            provider: self.provider.clone(),
            keys: self.keys,
        })
    }
}

impl Unverified<'_> {
    /// Whether at least one issuer may use the token's algorithm; the error is that of one which may not. `Ok` if
    /// no issuer is configured.
    pub(crate) fn some_algorithm(&self, providers: &Providers) -> Result<(), Rejection> {
        let all = providers.all();
        let judge = all.iter().find(|provider| self.allowed_algorithm(provider).is_some()).or(all.first());
        judge.map_or(Ok(()), |provider| self.algorithm(provider).map(drop))
    }

    /// The configured issuer that the token names; before any key is looked at or fetched.
    pub(crate) fn provider<'p>(&self, providers: &'p Providers) -> Result<&'p Arc<Provider>, Rejection> {
        if providers.all().is_empty() {
            return trusted_issuer(None, providers);
        }
        let claims = self.claims.as_ref().map_err(payload_rejection)?;
        trusted_issuer(Some(claims), providers)
    }

    /// The token's algorithm, if the provider may use it (RFC 8725 §3.1).
    pub(crate) fn algorithm(&self, provider: &Provider) -> Result<Algorithm, Rejection> {
        self.allowed_algorithm(provider).ok_or_else(|| {
            let detail = format!("Header parameter \"alg\" must be one of {}.", provider.algorithms);
            Rejection::new(Reason::AlgorithmNotAllowed, detail)
                .publicly("Header parameter \"alg\" is not an allowed algorithm.")
                .instead_of([&*self.header.alg])
        })
    }

    fn allowed_algorithm(&self, provider: &Provider) -> Option<Algorithm> {
        self.header.alg.parse().ok().filter(|algorithm| provider.algorithms.contains(*algorithm))
    }

    /// The key set with the key that made the signature, and that key's digest: the set in force, or a newer one if that
    /// one does not know the token's key.
    pub(crate) fn signing_keys(
        &self,
        provider: &Provider,
        algorithm: Algorithm,
        keys: &mut dyn Keys,
    ) -> Result<(Arc<KeySet>, Digest), Rejection> {
        let name = self.header.key_name();
        let mut set = keys.current(provider)?;
        let candidates = set.candidates(name, algorithm);
        // A key without a name can have been replaced unnoticed.
        let replaceable = matches!(candidates, Candidates::Unnamed(_)) && !set.knows(name);
        let mut signed = self.signed_by(&candidates, algorithm).map(|key| *key.digest());
        if signed.is_err()
            && replaceable
            && let Some(newer) = keys.newer(provider)?
        {
            signed = self.signed_by(&newer.candidates(name, algorithm), algorithm).map(|key| *key.digest());
            set = newer;
        }
        match signed {
            Ok(key) => Ok((set, key)),
            Err(rejection) => Err(self.told_why(rejection, &set, || keys.last_and_next_look(provider))),
        }
    }

    /// A rejection with what the key set has of the token's key, but cannot use, or else with when keys are looked for.
    fn told_why(&self, rejection: Rejection, keys: &KeySet, looks: impl FnOnce() -> Option<String>) -> Rejection {
        if rejection.reason != Reason::KeyUnknown {
            return rejection;
        }
        let kid = self.header.kid.as_deref();
        let of_kid = |own: Option<&str>| kid.is_some() && own == kid;
        if let Some(skipped) = keys.skipped().iter().find(|skipped| of_kid(skipped.kid.as_deref())) {
            return rejection.hint(format!("The key of this \"kid\" cannot be used: {}.", skipped.why));
        }
        match keys.keys().iter().find(|key| of_kid(key.kid())) {
            Some(key) => rejection.hint(format!(
                "The key of this \"kid\" is of type {}{}.",
                key.key_type().kty(),
                key.algorithm().map(|own| format!(", for {} alone", own.name())).unwrap_or_default()
            )),
            None => rejection.or_hint(looks().as_deref()),
        }
    }

    /// The one of the first [`MAX_CANDIDATE_KEYS`] of these keys that made the signature.
    fn signed_by<'k>(&self, candidates: &Candidates<'k>, algorithm: Algorithm) -> Result<&'k Key, Rejection> {
        let input = self.signing_input.as_bytes();
        let made = |key: &&&Key| key.made(&self.signature, input, algorithm);
        let by_text = |key: &&Key| key.made_by_text_of_secret(&self.signature, input, algorithm);
        let (Candidates::Named(keys) | Candidates::Unnamed(keys)) = candidates;
        if keys.is_empty() {
            let detail = format!("The issuer publishes no key for {} with the token's \"kid\".", algorithm.name());
            return Err(Rejection::new(Reason::KeyUnknown, detail).instead_of(self.header.kid.as_deref()));
        }
        if let Some(key) = keys.iter().take(MAX_CANDIDATE_KEYS).find(made) {
            return Ok(key);
        }
        Err(match candidates {
            Candidates::Unnamed(keys) if keys.len() > MAX_CANDIDATE_KEYS => Rejection::new(
                Reason::KeyAmbiguous,
                format!(
                    "No \"kid\" tells the keys apart that fit the token, and none of the first {MAX_CANDIDATE_KEYS} \
                     made its signature."
                ),
            ),
            Candidates::Unnamed(keys) if keys.len() > 1 => Rejection::new(
                Reason::SignatureInvalid,
                format!(
                    "No \"kid\" says which key made the signature, and none of the {} that fit made it.",
                    keys.len()
                ),
            ),
            _ => Rejection::new(
                Reason::SignatureInvalid,
                "The signature was not made by the issuer's key over this token.",
            )
            .near_miss(keys.iter().any(by_text).then_some(
                "It was made with the text of \"k\" itself: \"k\" must be the base64url of the secret, not the secret.",
            )),
        })
    }
}

/// The rejection for a provider that has no source of keys.
pub fn no_key_source(provider: &Provider) -> Option<Rejection> {
    matches!(provider.source, Source::Unset).then(|| {
        let detail = format!("Issuer \"{}\" is not a URL, so its keys cannot be discovered.", provider.issuer);
        Rejection::new(Reason::KeySourceNotConfigured, detail).hint("Set pg_jwks.jwks_uri or pg_jwks.jwks.")
    })
}
