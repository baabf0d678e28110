//! What the file of a PAM service says of the tokens that may log in as passwords: the arguments of `pam_pg_jwks.so`.

use crate::excerpt::quoted;
use crate::policy::login::{LoginRule, RuleSource};

/// The arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PamArguments {
    issuer: String,
    scope: String,
    map: Option<String>,
    delegates_mapping: bool,
}

impl PamArguments {
    /// Reads them. The error is a sentence that says which one is wrong.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut all = Self::default();
        let mut seen = Vec::new();
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            if seen.contains(&name) {
                return Err(format!("The argument {} is given twice.", quoted(name)));
            }
            seen.push(name);
            match (name, value) {
                ("issuer" | "map", "") => return Err(format!("The argument \"{name}\" needs a value.")),
                ("issuer", _) => value.clone_into(&mut all.issuer),
                ("scope", _) => value.clone_into(&mut all.scope),
                ("map", _) => all.map = Some(value.to_owned()),
                ("delegate_ident_mapping", "0") => {}
                ("delegate_ident_mapping", "1") => all.delegates_mapping = true,
                ("delegate_ident_mapping", _) => {
                    return Err("The argument \"delegate_ident_mapping\" is 0 or 1.".into());
                }
                _ => return Err(format!("The argument {} is unknown.", quoted(argument))),
            }
        }
        if all.issuer.is_empty() {
            return Err("The argument \"issuer\" is missing.".into());
        }
        if all.map.is_some() && all.delegates_mapping {
            return Err("The arguments \"map\" and \"delegate_ident_mapping\" exclude each other.".into());
        }
        Ok(all)
    }

    /// Which tokens may log in.
    pub fn rule(&self) -> LoginRule<'_> {
        LoginRule {
            source: RuleSource::PamService,
            issuer: &self.issuer,
            scope: &self.scope,
            delegates_mapping: self.delegates_mapping,
        }
    }

    /// The map in `pg_ident.conf` from the claim that says who logs in to roles.
    pub fn map(&self) -> Option<&str> {
        self.map.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_rule_and_a_map() {
        let arguments = PamArguments::parse(["issuer=https://a.example/?a=b", "scope=db:read openid", "map=people"]);
        let arguments = arguments.expect("good arguments");
        let rule = arguments.rule();
        assert_eq!((rule.issuer, rule.scope), ("https://a.example/?a=b", "db:read openid"));
        assert_eq!((rule.delegates_mapping, arguments.map()), (false, Some("people")));
        let arguments =
            PamArguments::parse(["delegate_ident_mapping=1", "issuer=a", "scope="]).expect("good arguments");
        assert_eq!((arguments.rule().delegates_mapping, arguments.map(), arguments.rule().scope), (true, None, ""));
        let arguments = PamArguments::parse(["delegate_ident_mapping=0", "issuer=a", "map=m"]).expect("good arguments");
        assert!(!arguments.rule().delegates_mapping);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, words) in [
            (vec![], "\"issuer\" is missing"),
            (vec!["scope=a"], "\"issuer\" is missing"),
            (vec!["issuer="], "\"issuer\" needs a value"),
            (vec!["issuer"], "\"issuer\" needs a value"),
            (vec!["issuer=a", "map="], "\"map\" needs a value"),
            (vec!["issuer=a", "isuer=b"], "\"isuer=b\" is unknown"),
            (vec!["issuer=a", "Scope=b"], "\"Scope=b\" is unknown"),
            (vec!["issuer=a", "debug"], "\"debug\" is unknown"),
            (vec!["issuer=a", ""], "\"\" is unknown"),
            (vec!["issuer=a", "scope=a", "scope=b"], "\"scope\" is given twice"),
            (vec!["issuer=a", "delegate_ident_mapping=yes"], "is 0 or 1"),
            (vec!["issuer=a", "delegate_ident_mapping"], "is 0 or 1"),
            (vec!["issuer=a", "map=m", "delegate_ident_mapping=1"], "exclude each other"),
        ] {
            let error = PamArguments::parse(arguments.iter().copied()).expect_err("wrong arguments");
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
    }
}
