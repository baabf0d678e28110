//! All configured issuers: those of the plain settings, and those of `pg_jwks.providers` with settings of their own.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bounds::MAX_PROVIDERS;
use crate::policy::entry::{Entry, entries};
use crate::policy::issuer_name::IssuerName;
use crate::policy::provider::{Provider, Source, list};
use crate::policy::trust_settings::TrustSettings;

/// All configured issuers.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    all: Vec<Arc<Provider>>,
    /// Where the issuers are in `all`, by their names.
    by_name: HashMap<String, usize>,
    /// Where those with a place in their name are.
    with_place: Vec<usize>,
}

impl Providers {
    /// Assembles the issuers. An issuer of `pg_jwks.providers` takes what it does not set from the plain settings,
    /// except the source of its keys. The error is a full sentence.
    pub fn assemble(settings: &TrustSettings) -> Result<Self, String> {
        let entries = entries(settings.providers)?;
        Self::check_plain_sharing(settings, &entries)?;
        let mut all = Self::default();
        for entry in entries {
            all.add(entry.provider(settings)?);
        }
        let mut plain_issuers = list(settings.issuer.unwrap_or_default());
        plain_issuers.retain(|issuer| !all.by_name.contains_key(issuer));
        for issuer in plain_issuers {
            let source = match (settings.jwks, settings.jwks_uri) {
                (Some(jwks), _) => Source::parse_inline(jwks)?,
                (None, Some(uri)) => Source::parse_uri(uri)?,
                (None, None) => Source::of_issuer(&issuer),
            };
            if !all.by_name.contains_key(&issuer) {
                all.add(settings.provider(IssuerName::exact(issuer), source)?);
            }
        }
        match all.all.len() > MAX_PROVIDERS {
            true => Err(format!("There are more than {MAX_PROVIDERS} issuers.")),
            false => Ok(all),
        }
    }

    fn add(&mut self, provider: Provider) {
        let index = self.all.len();
        if provider.issuer.place().is_some() {
            self.with_place.push(index);
        }
        self.by_name.insert(provider.issuer.as_str().to_owned(), index);
        self.all.push(Arc::new(provider));
    }

    /// Checks that no two plain issuers share a source of keys: each key of it would vouch for both. The error is a full
    /// sentence.
    pub fn check_sharing(settings: &TrustSettings) -> Result<(), String> {
        Self::check_plain_sharing(settings, &entries(settings.providers)?)
    }

    fn check_plain_sharing(settings: &TrustSettings, own: &[Entry]) -> Result<(), String> {
        let shared = match (settings.jwks, settings.jwks_uri) {
            (Some(_), _) => "pg_jwks.jwks",
            (None, Some(_)) => "pg_jwks.jwks_uri",
            (None, None) => return Ok(()),
        };
        let mut issuers = list(settings.issuer.unwrap_or_default());
        issuers.retain(|issuer| !own.iter().any(|entry| entry.issuer == *issuer));
        match issuers.iter().any(|issuer| *issuer != issuers[0]) {
            true => Err(format!(
                "Several names in pg_jwks.issuer share {shared}, so each key there would vouch for each of them; give each \
                 its keys in pg_jwks.providers."
            )),
            false => Ok(()),
        }
    }

    /// Checks `pg_jwks.providers` alone, as its check hook must: without the other settings.
    pub fn check(text: &str) -> Result<(), String> {
        Self::assemble(&TrustSettings { providers: Some(text), ..TrustSettings::DEFAULT }).map(drop)
    }

    /// The issuer of this exact name, or else the first whose place has room for it.
    pub fn of_issuer(&self, iss: &str) -> Option<&Arc<Provider>> {
        let fitting = || self.with_place.iter().find(|index| self.all[**index].issuer.fits(iss));
        self.by_name.get(iss).or_else(fitting).map(|index| &self.all[*index])
    }

    /// All issuers.
    pub fn all(&self) -> &[Arc<Provider>] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::ClaimPath;
    use crate::policy::provider::{Audience, TokenType};

    fn settings() -> TrustSettings<'static> {
        TrustSettings {
            issuer: Some("https://a.example, b"),
            audience: Some("app"),
            required_scope: Some("read"),
            ..TrustSettings::DEFAULT
        }
    }

    #[test]
    fn issuers_of_the_plain_settings() {
        let providers = Providers::assemble(&settings()).unwrap();
        assert!(matches!(providers.of_issuer("https://a.example").unwrap().source, Source::Discovery(_)));
        assert!(matches!(providers.of_issuer("b").unwrap().source, Source::Unset));
        assert!(providers.of_issuer("https://a.example/").is_none(), "issuers are compared exactly");
    }

    #[test]
    fn several_plain_issuers_share_no_keys() {
        let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        for shared in [
            TrustSettings { jwks_uri: Some("file:/k.pem"), ..settings() },
            TrustSettings { jwks_uri: Some("https://a.example/jwks"), ..settings() },
            TrustSettings { jwks: Some(jwks), ..settings() },
        ] {
            let error = Providers::assemble(&shared).unwrap_err();
            assert!(error.contains("pg_jwks.providers"), "{error}");
            for issuer in ["a", "a, a"] {
                Providers::assemble(&TrustSettings { issuer: Some(issuer), ..shared.clone() }).unwrap();
            }
            // An entry has keys of its own, so the plain settings are about the other issuer alone.
            let providers = Some(r#"[{"issuer":"https://a.example"}]"#);
            Providers::assemble(&TrustSettings { providers, ..shared.clone() }).unwrap();
            let providers = Some(r#"[{"issuer":"https://c.example"}]"#);
            assert!(Providers::assemble(&TrustSettings { providers, ..shared }).is_err());
        }
    }

    #[test]
    fn an_entry_overrides_the_plain_settings() {
        let text = r#"[{"issuer":"b","audience":["x","y"],"jwks_uri":"file:/k.pem","allowed_algorithms":"ES256",
                        "required_scope":[],"user_claim":"oid","role_claim":["a.b","c"],"tenant_claim":"org.id",
                        "authn_claim":["x"],"token_type":"access"}]"#;
        let providers = Providers::assemble(&TrustSettings { providers: Some(text), ..settings() }).unwrap();
        let b = providers.of_issuer("b").unwrap();
        assert_eq!(b.audience, Audience::OneOf(vec!["x".into(), "y".into()]));
        assert!(b.required_scope.is_empty());
        assert_eq!(b.role_claim, ClaimPath::parse(r#"["a.b","c"]"#).unwrap());
        assert_eq!(b.tenant_claim, Some(ClaimPath::parse("org.id").unwrap()));
        assert_eq!(b.user_claim, ClaimPath::parse("oid").unwrap());
        assert_eq!(*b.authn_claim(), ClaimPath::parse("x").unwrap());
        assert_eq!(b.token_type, TokenType::Access);
        assert_eq!(providers.of_issuer("https://a.example").unwrap().required_scope, ["read"]);
    }

    #[test]
    fn who_logs_in_is_the_user_if_nothing_else_is_set() {
        let authn_claim = |entry: &str, authn_claim| {
            let entry = format!(r#"[{{"issuer":"b"{entry}}}]"#);
            let settings = TrustSettings { providers: Some(&entry), user_claim: "uid", authn_claim, ..settings() };
            Providers::assemble(&settings).unwrap().of_issuer("b").unwrap().authn_claim().to_string()
        };
        for (entry, plain, expected) in [
            ("", None, "uid"),
            (r#","user_claim":"oid""#, None, "oid"),
            ("", Some("email"), "email"),
            (r#","user_claim":"oid""#, Some("email"), "email"),
            (r#","user_claim":"oid","authn_claim":"name""#, Some("email"), "name"),
        ] {
            assert_eq!(authn_claim(entry, plain), expected, "{entry} {plain:?}");
        }
    }

    #[test]
    fn an_issuer_with_a_place_says_what_may_be_there_and_where_the_keys_are() {
        let entra = |more: &str| format!(r#"[{{"issuer":"https://login.example/{{tid}}/v2.0"{more}}}]"#);
        let keys = r#","jwks_uri":"https://login.example/keys""#;
        for good in [r#","any":true"#, r#","required_claims":{"tid":["1","2"]}"#] {
            let text = entra(&format!("{keys}{good}"));
            let providers = Providers::assemble(&TrustSettings { providers: Some(&text), ..settings() }).unwrap();
            assert!(providers.of_issuer("https://login.example/1/v2.0").is_some(), "{text}");
            assert!(providers.of_issuer("https://login.example/1/v1.0").is_none());
        }
        for (bad, words) in [
            (r#","any":true"#.to_owned(), "jwks_uri"),
            (keys.to_owned(), "required_claims"),
            (format!(r#"{keys},"any":false"#), "required_claims"),
            (format!(r#"{keys},"required_claims":{{}}"#), "required_claims"),
        ] {
            let error = Providers::check(&entra(&bad)).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        for any in [true, false] {
            let plain = format!(r#"[{{"issuer":"https://a.example","any":{any}}}]"#);
            assert!(Providers::check(&plain).unwrap_err().contains("\"any\""));
        }
        // The exact name goes first.
        let text = format!(
            r#"[{{"issuer":"https://login.example/{{tid}}/v2.0","any":true{keys}}},
                {{"issuer":"https://login.example/1/v2.0","audience":"one"{keys}}}]"#
        );
        let providers = Providers::assemble(&TrustSettings { providers: Some(&text), ..settings() }).unwrap();
        let audience = |iss| providers.of_issuer(iss).unwrap().audience.clone();
        assert_eq!(audience("https://login.example/1/v2.0"), Audience::OneOf(vec!["one".into()]));
        assert_eq!(audience("https://login.example/2/v2.0"), Audience::OneOf(vec!["app".into()]));
    }

    #[test]
    fn the_items_of_an_array_are_not_split() {
        let text = r#"[{"issuer":"b","audience":["urn:x,app"],"required_scope":["a,b", "c d"]}]"#;
        let providers = Providers::assemble(&TrustSettings { providers: Some(text), ..settings() }).unwrap();
        let b = providers.of_issuer("b").unwrap();
        assert_eq!(b.audience, Audience::OneOf(vec!["urn:x,app".into()]));
        assert_eq!(b.required_scope, ["a,b", "c", "d"]);
        for bad in [r#"[{"issuer":"b","audience":["a",""]}]"#, r#"[{"issuer":"b","audience":["*","a"]}]"#] {
            assert!(Providers::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wrong_entries_are_refused_without_their_values() {
        for bad in [
            "{}",
            "[1]",
            "[{}]",
            r#"[{"issuer":""}]"#,
            r#"[{"issuer":"a"},{"issuer":"a"}]"#,
            r#"[{"issuer":"a","audiences":"secret"}]"#,
            r#"[{"issuer":"a","jwks":{"keys":[]}}]"#,
            r#"[{"issuer":"a","jwks":"secret","jwks_uri":"https://a.example/"}]"#,
            r#"[{"issuer":"a","allowed_algorithms":"none"}]"#,
            r#"[{"issuer":"a","token_type":"id"}]"#,
            r#"[{"issuer":"a","required_scope":"secret\\"}]"#,
            r#"[{"issuer":"a","required_scope":["read","secr\u00e9t"]}]"#,
            r#"[{"issuer":"a","required_scope":"a\tb"}]"#,
            r#"[{"issuer":7}]"#,
            "[",
        ] {
            let error = Providers::check(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(Providers::check(""), Ok(()));
    }
}
