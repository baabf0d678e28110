//! Claims that each token must have (`pg_jwks.required_claims`).

use serde_json::{Map, Value};

use crate::claims::{ClaimPath, ClaimSet};
use crate::json::unique_object;

/// The claims, and the values that each may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequiredClaims(Vec<(ClaimPath, Vec<Value>)>);

impl RequiredClaims {
    /// Parses a JSON object: its names are paths of claims, and each value is the claim's, or an array of those that it may
    /// be. The error is a full sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let object = unique_object(text.as_bytes())
            .map_err(|_| "The required claims are not a JSON object with unique names.".to_string())?;
        Self::of(object)
    }

    /// The same of an object. The error is a full sentence.
    pub fn of(object: Map<String, Value>) -> Result<Self, String> {
        let mut all = Vec::new();
        for (path, value) in object {
            let values = match value {
                Value::Array(values) => values,
                value => vec![value],
            };
            let is_simple = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
            if values.is_empty() || !values.iter().all(is_simple) {
                return Err(
                    "A required claim has a value that is no string, number or boolean, nor an array of them.".into()
                );
            }
            all.push((ClaimPath::parse(&path)?, values));
        }
        Ok(Self(all))
    }

    /// The first claim that is missing or has none of its values, and those values as JSON. A claim that is an array must have
    /// one of them.
    pub fn missing(&self, claims: &ClaimSet) -> Option<(&ClaimPath, String)> {
        let fits = |path: &ClaimPath, accepted: &[Value]| match claims.at(path) {
            None => false,
            Some(Value::Array(own)) => own.iter().any(|own| accepted.contains(own)),
            Some(own) => accepted.contains(own),
        };
        let (path, accepted) = self.0.iter().find(|(path, accepted)| !fits(path, accepted))?;
        let texts: Vec<_> = accepted.iter().map(Value::to_string).collect();
        Some((path, texts.join(" or ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn missing(required: &str, claims: Value) -> Option<String> {
        let claims = ClaimSet::parse(&claims.to_string()).unwrap();
        let required = RequiredClaims::parse(required).unwrap();
        required.missing(&claims).map(|(path, values)| format!("{path} {values}"))
    }

    #[test]
    fn each_claim_must_have_its_value() {
        let google = r#"{"hd": "example.com", "email_verified": true}"#;
        assert_eq!(missing(google, json!({"hd": "example.com", "email_verified": true, "x": 1})), None);
        for (claims, expected) in [
            (json!({"email_verified": true}), "hd \"example.com\""),
            (json!({"hd": "example.com.evil", "email_verified": true}), "hd \"example.com\""),
            (json!({"hd": "example.com", "email_verified": "true"}), "email_verified true"),
            (json!({"hd": null, "email_verified": true}), "hd \"example.com\""),
            (json!({"hd": {"example.com": 1}, "email_verified": true}), "hd \"example.com\""),
            (json!({"hd": "EXAMPLE.com", "email_verified": true}), "hd \"example.com\""),
        ] {
            assert_eq!(missing(google, claims.clone()).as_deref(), Some(expected), "{claims}");
        }
    }

    #[test]
    fn one_of_several_values_and_one_of_several_of_the_tokens() {
        let required = r#"{"org.id": ["a", 7], "groups": "staff"}"#;
        assert_eq!(missing(required, json!({"org": {"id": 7}, "groups": ["x", "staff"]})), None);
        let named = json!({"org.id": "a", "groups": "staff"});
        assert_eq!(missing(required, named).as_deref(), Some("org.id \"a\" or 7"), "a name with a dot is no path");
        let others = json!({"org": {"id": "a"}, "groups": ["staffers", ["staff"]]});
        assert_eq!(missing(required, others).as_deref(), Some("groups \"staff\""));
        assert_eq!(missing("{}", json!({})), None);
    }

    #[test]
    fn what_says_nothing_clear_is_refused() {
        for bad in [
            "",
            "[]",
            "hd",
            "1",
            r#"{"a":1,"a":2}"#,
            r#"{"a":null}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":[[1]]}"#,
            r#"{"":1}"#,
            r#"{"a..b":1}"#,
        ] {
            assert!(RequiredClaims::parse(bad).is_err(), "{bad}");
        }
    }
}
