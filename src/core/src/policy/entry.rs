//! The entries of `pg_jwks.providers`: issuers with settings of their own.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::claims::ClaimPath;
use crate::jose::algorithm::Algorithms;
use crate::policy::issuer_name::IssuerName;
use crate::policy::provider::{Audience, Provider, Source, TokenType, check_scopes, list, scope_list};
use crate::policy::required_claims::RequiredClaims;
use crate::policy::trust_settings::TrustSettings;

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

/// What `pg_jwks.providers` says of one issuer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The issuer, as it stands there.
    pub issuer: String,
    any: Option<bool>,
    audience: Option<Strings>,
    audience_claim: Option<Strings>,
    jwks_uri: Option<String>,
    jwks: Option<Value>,
    jwks_token_file: Option<PathBuf>,
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
    /// The name, which may have a place if the entry says what goes there, and where the keys of all are.
    fn issuer_name(&self) -> Result<IssuerName, String> {
        let name = IssuerName::parse(&self.issuer)?;
        let is_bounded =
            self.any == Some(true) || self.required_claims.as_ref().is_some_and(|claims| !claims.is_empty());
        match name.place() {
            None if self.any.is_some() => Err("\"any\" is for an issuer with a place, such as {tid}.".into()),
            Some(_) if self.jwks.is_none() && self.jwks_uri.is_none() => {
                Err("An issuer with a place needs a \"jwks_uri\" or \"jwks\".".into())
            }
            Some(place) if !is_bounded => Err(format!(
                "An issuer with a place needs \"required_claims\", such as {{\"{place}\": [...]}}, or \"any\": true, which \
                 accepts whatever is there."
            )),
            _ => Ok(name),
        }
    }

    /// The issuer. What the entry does not say comes from the plain settings, but for the source of its keys. The error is a
    /// full sentence.
    pub fn provider(mut self, settings: &TrustSettings) -> Result<Provider, String> {
        let issuer = self.issuer_name()?;
        let source = match (self.jwks.take(), self.jwks_uri.take()) {
            (Some(_), Some(_)) => return Err("An entry of the array has both \"jwks\" and \"jwks_uri\".".into()),
            (Some(jwks), None) => Source::parse_inline(&jwks.to_string())?,
            (None, Some(uri)) => Source::parse_uri(&uri)?,
            (None, None) => Source::of_issuer(issuer.as_str()),
        };
        if self.jwks_token_file.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err("\"jwks_token_file\" is not an absolute path.".into());
        }
        let mut provider = settings.provider(issuer, source)?;
        // A token is for the server of one issuer alone.
        provider.token_file = self.jwks_token_file;
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

/// The entries of `pg_jwks.providers`. The error is a full sentence.
pub fn entries(text: Option<&str>) -> Result<Vec<Entry>, String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(Vec::new());
    };
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| match error.is_data() {
        // The message names a member, and never a value: values can be secrets.
        true => format!("An entry of the array is wrong: {}.", member_problem(&error.to_string())),
        false => "The value is not a JSON array of objects.".to_string(),
    })?;
    let mut names = HashSet::new();
    match entries.iter().find(|entry| !names.insert(&*entry.issuer)) {
        Some(entry) => Err(format!("Issuer \"{}\" appears twice.", entry.issuer)),
        None => Ok(entries),
    }
}

fn member_problem(error: &str) -> &str {
    match error.split(" at line ").next() {
        Some(problem) if problem.starts_with("unknown field") || problem.starts_with("missing field") => problem,
        _ => "a member is not of its type",
    }
}
