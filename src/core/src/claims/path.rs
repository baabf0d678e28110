//! Claim paths, as settings write them.

use std::fmt;

use serde_json::Value;

/// The way to a claim through nested objects (`pg_jwks.role_claim`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// Parses a path: `role`, `realm_access.roles`, a name with a colon as it stands (`https://example.com/roles`),
    /// or a JSON array of names for anything else. The error is a full sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let names: Vec<String> = if text.starts_with('[') {
            serde_json::from_str(text).map_err(|_| "The claim path is not a JSON array of strings.".to_string())?
        } else if text.contains(':') {
            vec![text.to_owned()]
        } else {
            text.split('.').map(str::to_owned).collect()
        };
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err("The claim path has an empty name.".into());
        }
        Ok(Self(names))
    }

    /// Parses a comma-separated list of paths: at least one. The error is a full sentence.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        text.split(',').map(Self::parse).collect()
    }

    /// The names, the outermost first; at least one.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }
}

/// As settings write it.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dotted = self.0.join(".");
        match Self::parse(&dotted).is_ok_and(|same| same == *self) {
            true => f.write_str(&dotted),
            false => f.write_str(&Value::from(self.0.clone()).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_printed_as_it_can_be_written() {
        for text in ["role", "realm_access.roles", "https://example.com/roles", r#"["a.b","c"]"#] {
            assert_eq!(ClaimPath::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ClaimPath::parse(r#"["a", "b"]"#).unwrap().to_string(), "a.b");
    }

    #[test]
    fn lists_of_paths_have_commas() {
        let list = ClaimPath::parse_list("aud, client_id").unwrap();
        assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["aud", "client_id"]);
        for bad in ["", "aud,", ",aud", "aud,,azp", "a..b"] {
            assert!(ClaimPath::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn claim_paths_without_names_are_refused() {
        for bad in ["", ".", "a..b", "[]", "[\"\"]", "[1]", "[\"a\""] {
            assert!(ClaimPath::parse(bad).is_err(), "{bad}");
        }
    }
}
