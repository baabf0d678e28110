//! The configured issuers: the plain settings, and `pg_jwks.providers` for issuers with settings of their own.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::bounds::MAX_PROVIDERS;
use crate::claims::ClaimPath;
use crate::jose::algorithm::Algorithms;
use crate::policy::provider::{Audience, Provider, Source, TokenType, check_scopes, list, scope_list};
use crate::policy::required_claims::RequiredClaims;
use crate::time::Span;

/// The trust settings as texts; `None` is unset.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // Each field is the setting of its name.
pub struct TrustSettings<'a> {
    pub issuer: Option<&'a str>,
    pub audience: Option<&'a str>,
    pub audience_claim: &'a str,
    pub jwks_uri: Option<&'a str>,
    pub jwks: Option<&'a str>,
    pub providers: Option<&'a str>,
    pub allowed_algorithms: &'a str,
    pub required_scope: Option<&'a str>,
    pub required_claims: Option<&'a str>,
    pub user_claim: &'a str,
    pub role_claim: &'a str,
    pub tenant_claim: Option<&'a str>,
    pub authn_claim: Option<&'a str>,
    pub token_type: TokenType,
    pub leeway: Span,
    pub max_token_age: Option<Span>,
}

impl TrustSettings<'_> {
    /// The defaults of the settings.
    pub const DEFAULT: Self = Self {
        issuer: None,
        audience: None,
        audience_claim: "aud",
        jwks_uri: None,
        jwks: None,
        providers: None,
        allowed_algorithms: Algorithms::ASYMMETRIC,
        required_scope: None,
        required_claims: None,
        user_claim: "sub",
        role_claim: "role",
        tenant_claim: None,
        authn_claim: None,
        token_type: TokenType::Any,
        leeway: Span::from_seconds(30),
        max_token_age: None,
    };
}

/// All configured issuers.
#[derive(Clone, Debug, Default)]
pub struct Providers(Vec<Arc<Provider>>);

impl Providers {
    /// Assembles the issuers. An issuer of `pg_jwks.providers` takes what it does not set from the plain settings,
    /// except the source of its keys. The error is a full sentence.
    pub fn assemble(settings: &TrustSettings) -> Result<Self, String> {
        let mut all = Vec::new();
        for entry in entries(settings.providers)? {
            all.push(Arc::new(entry.provider(settings)?));
        }
        Self::check_sharing(settings)?;
        let mut plain_issuers = list(settings.issuer.unwrap_or_default());
        plain_issuers.retain(|issuer| !all.iter().any(|provider: &Arc<Provider>| provider.issuer == *issuer));
        for issuer in plain_issuers {
            let source = match (settings.jwks, settings.jwks_uri) {
                (Some(jwks), _) => Source::parse_inline(jwks)?,
                (None, Some(uri)) => Source::parse_uri(uri)?,
                (None, None) => Source::of_issuer(&issuer),
            };
            if !all.iter().any(|provider| provider.issuer == issuer) {
                all.push(Arc::new(plain(settings, issuer, source)?));
            }
        }
        match all.len() > MAX_PROVIDERS {
            true => Err(format!("There are more than {MAX_PROVIDERS} issuers.")),
            false => Ok(Self(all)),
        }
    }

    /// Checks that no two plain issuers share a source of keys: each key of it would vouch for both. The error is a full
    /// sentence.
    pub fn check_sharing(settings: &TrustSettings) -> Result<(), String> {
        let shared = match (settings.jwks, settings.jwks_uri) {
            (Some(_), _) => "pg_jwks.jwks",
            (None, Some(_)) => "pg_jwks.jwks_uri",
            (None, None) => return Ok(()),
        };
        let own = entries(settings.providers)?;
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

    /// The issuer of this exact name.
    pub fn of_issuer(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.0.iter().find(|provider| provider.issuer == issuer)
    }

    /// All issuers.
    pub fn all(&self) -> &[Arc<Provider>] {
        &self.0
    }
}

fn plain(settings: &TrustSettings, issuer: String, source: Source) -> Result<Provider, String> {
    Ok(Provider {
        issuer,
        audience: Audience::parse(settings.audience.unwrap_or_default())?,
        audience_claims: ClaimPath::parse_list(settings.audience_claim)?,
        source,
        algorithms: Algorithms::parse(settings.allowed_algorithms)?,
        required_scope: scope_list(settings.required_scope.unwrap_or_default()),
        required_claims: settings.required_claims.map(RequiredClaims::parse).transpose()?.unwrap_or_default(),
        token_type: settings.token_type,
        user_claim: ClaimPath::parse(settings.user_claim)?,
        role_claim: ClaimPath::parse(settings.role_claim)?,
        tenant_claim: settings.tenant_claim.map(ClaimPath::parse).transpose()?,
        authn_claim: settings.authn_claim.map(ClaimPath::parse).transpose()?,
        leeway: settings.leeway,
        max_token_age: settings.max_token_age,
    })
}

/// A list as people write it in JSON: one string, or an array of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Strings {
    One(String),
    Many(Vec<String>),
}

impl Strings {
    /// The items: of a string, the parts into which `split` takes it; of an array, its strings as they stand.
    fn items(self, split: fn(&str) -> Vec<String>) -> Vec<String> {
        match self {
            Self::One(text) => split(&text),
            Self::Many(texts) => texts,
        }
    }

    /// The path of a claim: one text as a setting has it, or an array of names.
    fn claim_path(self) -> Result<ClaimPath, String> {
        match self {
            Self::One(path) => ClaimPath::parse(&path),
            Self::Many(names) => ClaimPath::parse(&Value::from(names).to_string()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    audience: Option<Strings>,
    audience_claim: Option<Strings>,
    jwks_uri: Option<String>,
    jwks: Option<Value>,
    allowed_algorithms: Option<Strings>,
    required_scope: Option<Strings>,
    required_claims: Option<Map<String, Value>>,
    user_claim: Option<Strings>,
    role_claim: Option<Strings>,
    tenant_claim: Option<Strings>,
    authn_claim: Option<Strings>,
    token_type: Option<String>,
}

impl Entry {
    fn provider(self, settings: &TrustSettings) -> Result<Provider, String> {
        if self.issuer.is_empty() {
            return Err("An entry of the array has an empty \"issuer\".".into());
        }
        let source = match (self.jwks, self.jwks_uri) {
            (Some(_), Some(_)) => return Err("An entry of the array has both \"jwks\" and \"jwks_uri\".".into()),
            (Some(jwks), None) => Source::parse_inline(&jwks.to_string())?,
            (None, Some(uri)) => Source::parse_uri(&uri)?,
            (None, None) => Source::of_issuer(&self.issuer),
        };
        let mut provider = plain(settings, self.issuer, source)?;
        if let Some(audience) = self.audience {
            provider.audience = Audience::of(audience.items(list))?;
        }
        if let Some(paths) = self.audience_claim {
            provider.audience_claims = match paths {
                Strings::One(list) => ClaimPath::parse_list(&list)?,
                Strings::Many(paths) => paths.iter().map(|path| ClaimPath::parse(path)).collect::<Result<_, _>>()?,
            };
        }
        if let Some(claims) = self.required_claims {
            provider.required_claims = RequiredClaims::of(claims)?;
        }
        if let Some(algorithms) = self.allowed_algorithms {
            provider.algorithms = Algorithms::parse(&algorithms.items(list).join(","))?;
        }
        if let Some(scope) = self.required_scope {
            provider.required_scope = match &scope {
                Strings::One(text) => scope_list(text),
                // Scopes have no spaces (RFC 6749 §3.3), so an item with one can only mean several.
                Strings::Many(items) => items.join(" ").split(' ').map(str::to_owned).collect(),
            };
            provider.required_scope.retain(|scope| !scope.is_empty());
            provider.required_scope.iter().try_for_each(|scope| check_scopes(scope))?;
        }
        if let Some(path) = self.user_claim {
            provider.user_claim = path.claim_path()?;
        }
        if let Some(path) = self.role_claim {
            provider.role_claim = path.claim_path()?;
        }
        if let Some(path) = self.tenant_claim {
            provider.tenant_claim = Some(path.claim_path()?);
        }
        if let Some(path) = self.authn_claim {
            provider.authn_claim = Some(path.claim_path()?);
        }
        provider.token_type = match self.token_type.as_deref() {
            None => provider.token_type,
            Some("any") => TokenType::Any,
            Some("access") => TokenType::Access,
            Some(_) => return Err("\"token_type\" must be \"any\" or \"access\".".into()),
        };
        Ok(provider)
    }
}

fn entries(text: Option<&str>) -> Result<Vec<Entry>, String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(Vec::new());
    };
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| match error.is_data() {
        // The message names a member, and never a value: values can be secrets.
        true => format!("An entry of the array is wrong: {}.", member_problem(&error.to_string())),
        false => "The value is not a JSON array of objects.".to_string(),
    })?;
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|other| other.issuer == entry.issuer) {
            return Err(format!("Issuer \"{}\" appears twice.", entry.issuer));
        }
    }
    Ok(entries)
}

fn member_problem(error: &str) -> &str {
    match error.split(" at line ").next() {
        Some(problem) if problem.starts_with("unknown field") || problem.starts_with("missing field") => problem,
        _ => "a member is not of its type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
