//! Claims that are believed though their signature is not at hand: each type says why. Those of a token that was just
//! checked are made by `verification` alone.

use std::ops::Deref;

use crate::claims::claim_set::ClaimSet;

/// Claims that were verified before: what the setting of the session's identity holds, or what a leader hands to its
/// parallel workers. They are believed because nothing but verified claims can get into that setting.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredClaims(ClaimSet);

impl RestoredClaims {
    /// The claims in the text of a setting that its check hook guards. The caller vouches for the guard. `None` if the
    /// text is not a JSON object.
    pub fn from_guarded_setting(json: &str) -> Option<Self> {
        ClaimSet::parse(json).map(Self)
    }
}

/// Claims that PostgREST verified and left in `request.jwt.claims`, which any session can set. They are believed only
/// because `pg_jwks.trust_request_claims` says so.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestClaims(ClaimSet);

impl RequestClaims {
    /// The claims in the text of `request.jwt.claims`; without `exp` they do not expire. `None` if the text is not a
    /// JSON object, `exp` is not a NumericDate (RFC 7519 §4.1.4), or `sub` is not a string (§4.1.2).
    pub fn from_request_setting(json: &str) -> Option<Self> {
        let claims = ClaimSet::parse(json)?;
        let has_time = claims.claim("exp").is_none() || claims.expires().is_some();
        let has_subject = claims.claim("sub").is_none() || claims.text("sub").is_some();
        (has_time && has_subject).then_some(Self(claims))
    }
}

impl Deref for RestoredClaims {
    type Target = ClaimSet;

    fn deref(&self) -> &ClaimSet {
        &self.0
    }
}

impl Deref for RequestClaims {
    type Target = ClaimSet;

    fn deref(&self) -> &ClaimSet {
        &self.0
    }
}

impl From<RestoredClaims> for ClaimSet {
    fn from(claims: RestoredClaims) -> Self {
        claims.0
    }
}

impl From<RequestClaims> for ClaimSet {
    fn from(claims: RequestClaims) -> Self {
        claims.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn request_claims_have_a_time_or_none() {
        let expires = |json| RequestClaims::from_request_setting(json).map(|claims| claims.expires());
        assert_eq!(expires(r#"{"sub":"a"}"#), Some(None));
        assert_eq!(expires(r#"{"exp":1.5}"#), Some(Some(Timestamp::from_micros(1_500_000))));
        for bad in ["", "[]", "null", "a", r#"{"exp":null}"#, r#"{"exp":"1"}"#, r#"{"exp":-1}"#, r#"{"exp":1e300}"#] {
            assert_eq!(expires(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_subject_of_request_claims_is_a_string_or_missing() {
        assert!(RequestClaims::from_request_setting(r#"{"role":"anon"}"#).is_some());
        for bad in [r#"{"sub":1}"#, r#"{"sub":null}"#, r#"{"sub":["a"]}"#, r#"{"sub":{}}"#, r#"{"sub":true}"#] {
            assert!(RequestClaims::from_request_setting(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn restored_claims_are_an_object() {
        for bad in ["", "[]", "null", "{"] {
            assert_eq!(RestoredClaims::from_guarded_setting(bad), None, "{bad}");
        }
    }
}
