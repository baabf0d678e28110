//! Claims without a token, for jobs, support and tests: whoever may state them speaks for any user, and is named in them.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use crate::claims::claim_set::ClaimSet;
use crate::json::AsciiJson;
use crate::time::{Span, Timestamp};

/// How long such an identity lasts at most.
pub const LONGEST: Span = Span::from_seconds(3600);

/// Claims that somebody who may do so has stated. [`AssumedClaims::state`] alone makes them.
#[derive(Clone, Debug, PartialEq)]
pub struct AssumedClaims {
    claims: Arc<ClaimSet>,
    json: AsciiJson,
    expires: Timestamp,
}

impl AssumedClaims {
    /// Takes a JSON object, and adds to it who states it (claim `act`, RFC 8693 §4.1), and, unless they are there, `iat`,
    /// `exp`, an hour ahead, and `iss`, if there is an `issuer` to add. The error is a full sentence.
    pub fn state(json: &str, actor: &str, issuer: Option<&str>, now: Timestamp) -> Result<Self, String> {
        let Some(stated) = ClaimSet::parse(json) else { return Err("The claims are not a JSON object.".into()) };
        if stated.claim("act").is_some() {
            return Err("Claim \"act\" cannot be stated: it names the session user.".into());
        }
        let mut added = vec![("act", serde_json::json!({ "sub": actor }))];
        if stated.claim("iat").is_none() {
            added.push(("iat", now.whole_seconds().into()));
        }
        if let (None, Some(issuer)) = (stated.claim("iss"), issuer) {
            added.push(("iss", issuer.into()));
        }
        let latest = Timestamp::from_seconds(now.whole_seconds()) + LONGEST;
        let expires = match stated.claim("exp") {
            None => {
                added.push(("exp", latest.whole_seconds().into()));
                latest
            }
            Some(exp) => match Timestamp::from_numeric_date(exp) {
                Some(exp) if now < exp && exp <= latest => exp,
                Some(exp) if exp > latest => return Err(format!("Claim \"exp\" is more than {LONGEST} ahead.")),
                Some(_) => return Err("Claim \"exp\" is past.".into()),
                None => return Err("Claim \"exp\" is not a number of seconds since 1970.".into()),
            },
        };
        // Numbers stay as they were written.
        let json = AsciiJson::of(with_members(json, &added));
        let Some(claims) = ClaimSet::parse(&json) else { unreachable!("an object with more members") };
        Ok(Self { claims: Arc::new(claims), json, expires })
    }

    /// The claims as ASCII JSON.
    pub fn json(&self) -> &AsciiJson {
        &self.json
    }

    /// The claims themselves, to be shared.
    pub fn claims(&self) -> &Arc<ClaimSet> {
        &self.claims
    }

    /// `exp`.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl Deref for AssumedClaims {
    type Target = ClaimSet;

    fn deref(&self) -> &ClaimSet {
        &self.claims
    }
}

/// A JSON object with more members.
fn with_members(object: &str, members: &[(&str, Value)]) -> String {
    let open = object.trim_end().strip_suffix('}').unwrap_or_else(|| unreachable!("it was read as an object"));
    let is_empty = open.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim().is_empty());
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{open}{}{}}}", if is_empty { "" } else { ", " }, members.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_500_000);

    fn state(json: &str) -> Result<AssumedClaims, String> {
        AssumedClaims::state(json, "job", Some("https://a.example"), NOW)
    }

    #[test]
    fn who_states_them_is_in_them_and_they_end_within_the_hour() {
        assert_eq!(state(r#"{"iat":1}"#).unwrap().claim("iat"), Some(&1.into()));
        let claims = state(r#" {"sub":"alice","n":12345678901234567890123,"x":{}} "#).unwrap();
        assert_eq!(claims.text("sub"), Some("alice"));
        assert_eq!(claims.actor(), Some("job"));
        assert_eq!(claims.text("iss"), Some("https://a.example"));
        assert_eq!(claims.expires(), Timestamp::from_micros(1_700_003_600_000_000));
        assert!(claims.json().contains("12345678901234567890123"), "as it was written");
        assert_eq!(state("{}").unwrap().actor(), Some("job"));
        assert_eq!(state(r#"{"iss":"b","exp":1700000001}"#).unwrap().text("iss"), Some("b"));
        assert_eq!(state(r#"{"exp":1700003600}"#).unwrap().expires(), Timestamp::from_micros(1_700_003_600_000_000));
        let quoted = AssumedClaims::state("{}", "a\"b\u{e9}", None, NOW).unwrap();
        assert_eq!((quoted.actor(), quoted.claim("iss")), (Some("a\"b\u{e9}"), None));
        assert!(quoted.json().is_ascii());
    }

    #[test]
    fn what_nobody_may_state_is_refused() {
        for (json, words) in [
            ("[]", "object"),
            ("null", "object"),
            ("\"x\"", "object"),
            (r#"{"act":{"sub":"boss"}}"#, "\"act\""),
            (r#"{"act":null}"#, "\"act\""),
            (r#"{"exp":1700003601}"#, "ahead"),
            (r#"{"exp":1700000000}"#, "past"),
            (r#"{"exp":"1700003600"}"#, "not a number"),
            (r#"{"exp":null}"#, "not a number"),
        ] {
            let error = state(json).unwrap_err();
            assert!(error.contains(words) && error.ends_with('.'), "{json}: {error}");
        }
    }
}
