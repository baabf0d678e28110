//! What `iss` must be.

use std::fmt;

use crate::claims::{ClaimPath, ClaimSet};

/// The accepted values of `iss` (RFC 8725 §3.8): one text, compared exactly, or a text with one place `{claim}` for the value
/// of that claim, as providers write it that are an issuer for each of their tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerName {
    text: String,
    place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    before: String,
    claim: ClaimPath,
    after: String,
}

impl IssuerName {
    /// One text.
    pub fn exact(text: String) -> Self {
        Self { text, place: None }
    }

    /// A text that may have a place. The error is a full sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("An entry of the array has an empty \"issuer\".".into());
        }
        let Some((before, rest)) = text.split_once('{') else { return Ok(Self::exact(text.to_owned())) };
        let place = rest.split_once('}').filter(|(_, after)| !before.is_empty() && !after.contains(['{', '}']));
        let Some((claim, after)) = place else {
            return Err("An issuer has one place at most, a claim in braces such as {tid}, and text before it.".into());
        };
        let place = Place { before: before.into(), claim: ClaimPath::parse(claim)?, after: after.into() };
        Ok(Self { text: text.to_owned(), place: Some(place) })
    }

    /// As the setting has it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The claim whose value goes into the place, if there is one.
    pub fn place(&self) -> Option<&ClaimPath> {
        self.place.as_ref().map(|place| &place.claim)
    }

    /// Whether this is an accepted value, as far as it says itself: what is in the place has letters, digits, `-`, `_` and
    /// `.` only.
    pub fn fits(&self, iss: &str) -> bool {
        match &self.place {
            None => self.text == iss,
            Some(place) => place.value(iss).is_some(),
        }
    }

    /// Whether a token of these claims, whose `iss` fits, is of that tenant: what is in the place is the claim's value.
    pub fn is_borne_out_by(&self, claims: &ClaimSet) -> bool {
        self.place.as_ref().is_none_or(|place| {
            let own = claims.text("iss").and_then(|iss| place.value(iss));
            own.is_some() && own == claims.at(&place.claim).and_then(|claim| claim.as_str())
        })
    }
}

impl Place {
    /// What is in the place.
    fn value<'i>(&self, iss: &'i str) -> Option<&'i str> {
        let value = iss.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (!value.is_empty() && value.bytes().all(is_plain)).then_some(value)
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRA: &str = "https://login.microsoftonline.com/{tid}/v2.0";

    #[test]
    fn a_place_takes_the_value_of_its_claim() {
        let name = IssuerName::parse(ENTRA).unwrap();
        let token = |iss: &str, tid: &str| {
            let claims = serde_json::json!({ "iss": iss, "tid": tid }).to_string();
            let claims = ClaimSet::parse(&claims).unwrap();
            name.fits(iss) && name.is_borne_out_by(&claims)
        };
        assert!(token("https://login.microsoftonline.com/1-a_B.c/v2.0", "1-a_B.c"));
        for (iss, tid) in [
            ("https://login.microsoftonline.com/1/v2.0", "2"),
            ("https://login.microsoftonline.com/1/v2.0", ""),
            ("https://login.microsoftonline.com//v2.0", ""),
            ("https://login.microsoftonline.com/1/2/v2.0", "1/2"),
            ("https://login.microsoftonline.com/%31/v2.0", "%31"),
            ("https://login.microsoftonline.com/\u{e9}/v2.0", "\u{e9}"),
            ("https://login.microsoftonline.com/1/v2.0/", "1"),
            ("https://login.microsoftonline.com/1", "1"),
            ("https://login.microsoftonline.com/{tid}/v2.0", "{tid}"),
            ("http://login.microsoftonline.com/1/v2.0", "1"),
        ] {
            assert!(!token(iss, tid), "{iss} {tid}");
        }
        let claims = ClaimSet::parse(r#"{"iss":"https://login.microsoftonline.com/1/v2.0","tid":1}"#).unwrap();
        assert!(!name.is_borne_out_by(&claims), "a number");
    }

    #[test]
    fn a_text_without_place_is_compared_exactly() {
        let name = IssuerName::parse("https://a.example/").unwrap();
        assert!(name.fits("https://a.example/") && !name.fits("https://a.example"));
        assert!(name.is_borne_out_by(&ClaimSet::parse("{}").unwrap()) && name.place().is_none());
    }

    #[test]
    fn names_with_more_than_one_place_are_refused() {
        for bad in ["", "{tid}", "a{tid", "a{}", "a{tid}{oid}", "a{{tid}}", "a{tid}}", "a{b..c}"] {
            IssuerName::parse(bad).unwrap_err();
        }
    }
}
