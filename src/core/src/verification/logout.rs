//! Logout tokens (OpenID Connect Back-Channel Logout 1.0): what an issuer says of a session or user that has logged out.

use serde_json::Value;

use crate::claims::ClaimSet;
use crate::digest::{Digest, digest_of_parts};
use crate::policy::provider::Provider;
use crate::policy::providers::Providers;
use crate::rejection::{Check, Reason, Rejection};
use crate::time::Timestamp;
use crate::verification::checks::{CHECKS_OF_CLAIMS, Stated, Typ, payload_rejection};
use crate::verification::verify::{Keys, signed};

/// The member of `events` that makes a token a logout token (§2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The checks of other tokens that hold for logout tokens too: they carry no scope, and have a type of their own.
const SHARED_CHECKS: [Check; 4] = [Check::Claims, Check::Expiry, Check::NotBefore, Check::Audience];

/// Whom a verified logout token logs out. [`verify_logout`] alone makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The issuer.
    pub issuer: String,
    /// The user.
    pub subject: Option<String>,
    /// `sid`.
    pub session: Option<String>,
    /// A digest of `iss` and `jti`, by which one token is known.
    pub token: Digest,
}

/// Verifies a logout token (§2.6): signed by a trusted issuer for an accepted audience, in time, and of the form that §2.4
/// asks for. Whether its `jti` was seen before is for the caller to check.
pub fn verify_logout(
    token: &[u8],
    providers: &Providers,
    keys: &mut dyn Keys,
    now: Timestamp,
) -> Result<Logout, Rejection> {
    let signed = signed(token, providers, keys)?;
    let claims = signed.token.claims.map_err(|error| payload_rejection(&error))?;
    let typ = signed.token.header.typ.unwrap_or_default().to_ascii_lowercase();
    if typ.strip_prefix("application/").unwrap_or(&typ) != "logout+jwt" {
        let detail = "Header parameter \"typ\" of a logout token must be \"logout+jwt\".";
        return Err(
            Rejection::new(Reason::TypeNotAccepted, detail).instead_of(Some(&*typ).filter(|typ| !typ.is_empty()))
        );
    }
    let stated = Stated { claims: &claims, typ: Typ::Kept { is_access_token: false } };
    for (_, check) in CHECKS_OF_CLAIMS.into_iter().filter(|(name, _)| SHARED_CHECKS.contains(name)) {
        check(&stated, signed.provider, now)?;
    }
    logout(&claims, signed.provider)
}

/// The claims of §2.4.
fn logout(claims: &ClaimSet, provider: &Provider) -> Result<Logout, Rejection> {
    let malformed = |detail: &str| Err(Rejection::new(Reason::ClaimMalformed, detail));
    if !claims.claim("events").and_then(|events| events.get(LOGOUT_EVENT)).is_some_and(Value::is_object) {
        return malformed(&format!("Claim \"events\" of a logout token must have an object \"{LOGOUT_EVENT}\"."));
    }
    if claims.claim("nonce").is_some() {
        return malformed("A logout token must not have claim \"nonce\".");
    }
    if claims.claim("iat").is_none() {
        return malformed("A logout token must have claim \"iat\".");
    }
    let text = |name| claims.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let (subject, session) = (provider.user(claims), text("sid"));
    if subject.is_none() && session.is_none() {
        return match claims.claim("sub") {
            None => malformed("A logout token must have claim \"sid\" or \"sub\"."),
            Some(_) => malformed(
                "A logout token without claim \"sid\" must have the claim that names the user (pg_jwks.user_claim).",
            ),
        };
    }
    match (text("iss"), text("jti")) {
        (Some(issuer), Some(token_id)) => {
            let token = digest_of_parts(&[issuer.as_bytes(), token_id.as_bytes()]);
            Ok(Logout { issuer, subject, session, token })
        }
        _ => malformed("A logout token must have claim \"jti\"."),
    }
}
