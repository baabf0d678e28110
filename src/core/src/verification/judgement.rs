//! Judging an identity again: what it was judged by, settings, keys, the time, has changed since.

use std::sync::Arc;

use crate::claims::ClaimSet;
use crate::digest::{Digest, digest};
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::KeySet;
use crate::jose::key::Key;
use crate::near_miss::first_difference;
use crate::policy::provider::Provider;
use crate::policy::providers::Providers;
use crate::rejection::{Check, Reason, Rejection};
use crate::time::Timestamp;
use crate::verification::checks::{CHECKS_OF_CLAIMS, Stated, Typ, check_lifetime, end};

/// What a verified token had beside its claims. [`crate::verification::verify::verify`] alone makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The algorithm of its signature.
    pub(super) algorithm: Algorithm,
    /// [`Key::digest`] of the key that made it.
    pub(super) key: Digest,
    /// A digest of its `kid`, if it had one.
    pub(super) kid: Option<Digest>,
    /// Whether its `typ` was that of access tokens.
    pub(super) is_access_token: bool,
}

impl Evidence {
    /// Whether the key that made the signature would be found again in this set.
    fn is_vouched_for_by(&self, keys: &KeySet) -> bool {
        let is_named = |key: &Key| match (&self.kid, key.kid()) {
            (Some(kid), Some(own)) => *kid == digest(own.as_bytes()),
            (None, _) | (_, None) => true,
        };
        keys.keys().iter().any(|key| *key.digest() == self.key && key.fits(self.algorithm) && is_named(key))
    }
}

/// Whether a token of these claims would be accepted now, and until when, leeway aside: whether that moment has come is
/// for the caller to see. The error is that of the first check that fails.
///
/// `held` gives the keys of an issuer that are at hand, without waiting: keys that are not end no identity.
pub fn judge(
    claims: &ClaimSet,
    evidence: &Evidence,
    providers: &Providers,
    held: impl FnOnce(&Provider) -> Option<Arc<KeySet>>,
    now: Timestamp,
) -> Result<Timestamp, Rejection> {
    let provider = trusted_issuer(Some(claims), providers)?;
    if !provider.algorithms.contains(evidence.algorithm) {
        let detail = format!("The token's algorithm must be one of {}.", provider.algorithms);
        return Err(Rejection::new(Reason::AlgorithmNotAllowed, detail)
            .publicly("The token's algorithm is not an allowed algorithm any more."));
    }
    if held(provider).is_some_and(|keys| !evidence.is_vouched_for_by(&keys)) {
        return Err(Rejection::new(Reason::KeyUnknown, "The issuer does not publish the token's key any more."));
    }
    let stated = Stated { claims, typ: Typ::Kept { is_access_token: evidence.is_access_token } };
    let end = end(claims, provider)?;
    check_lifetime(claims, provider, now)?;
    for (_, check) in CHECKS_OF_CLAIMS.into_iter().filter(|(name, _)| *name != Check::Expiry) {
        check(&stated, provider, now)?;
    }
    Ok(end)
}

/// So many issuers are named to who sent a token of another one.
const MAX_NAMES: usize = 8;

/// The configured issuer that a token of these claims names.
pub(super) fn trusted_issuer<'p>(
    claims: Option<&ClaimSet>,
    providers: &'p Providers,
) -> Result<&'p Arc<Provider>, Rejection> {
    if providers.all().is_empty() {
        return Err(Rejection::new(Reason::IssuerNotConfigured, "No issuer is trusted, so no token can be accepted.")
            .hint("Set pg_jwks.issuer or pg_jwks.providers."));
    }
    let iss = claims.and_then(|claims| claims.text("iss"));
    let provider = iss.and_then(|iss| providers.of_issuer(iss)).ok_or_else(|| {
        let all = providers.all().iter();
        let mut names: Vec<_> = all.take(MAX_NAMES).map(|provider| format!("\"{}\"", provider.issuer)).collect();
        let others = providers.all().len() - names.len();
        names.extend((others > 0).then(|| format!("one of {others} more")));
        let detail = format!("Claim \"iss\" must be exactly {}.", names.join(" or "));
        Rejection::new(Reason::IssuerNotAccepted, detail)
            .publicly("Claim \"iss\" is not that of a trusted issuer.")
            .instead_of(iss)
            .near_miss(first_difference(iss, providers.all().iter().map(|provider| provider.issuer.as_str())))
    })?;
    match provider.issuer.place() {
        Some(place) if !claims.is_some_and(|claims| provider.issuer.is_borne_out_by(claims)) => {
            let detail = format!("Claim \"{place}\" must be what \"iss\" has in its place in \"{}\".", provider.issuer);
            Err(Rejection::new(Reason::IssuerNotAccepted, detail)
                .publicly("Claim \"iss\" names another tenant than the token.")
                .instead_of(iss))
        }
        _ => Ok(provider),
    }
}
