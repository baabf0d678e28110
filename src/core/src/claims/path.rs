//! Claim paths, as settings write them.

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

    /// The names, the outermost first; at least one.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_paths_without_names_are_refused() {
        for bad in ["", ".", "a..b", "[]", "[\"\"]", "[1]", "[\"a\""] {
            assert!(ClaimPath::parse(bad).is_err(), "{bad}");
        }
    }
}
