//! The settings that say which tokens are accepted, as texts, and what they say of one issuer.

use std::path::PathBuf;

use crate::claims::ClaimPath;
use crate::jose::algorithm::Algorithms;
use crate::policy::issuer_name::IssuerName;
use crate::policy::provider::{Audience, Provider, Source, TokenType, scope_list};
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
    pub jwks_token_file: Option<&'a str>,
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
    pub max_token_lifetime: Option<Span>,
}

impl TrustSettings<'_> {
    /// The defaults of the settings.
    pub const DEFAULT: Self = Self {
        issuer: None,
        audience: None,
        audience_claim: "aud",
        jwks_uri: None,
        jwks: None,
        jwks_token_file: None,
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
        max_token_lifetime: None,
    };

    /// The issuer of this name with these keys, and else what the settings say. The error is a full sentence.
    pub fn provider(&self, issuer: IssuerName, source: Source) -> Result<Provider, String> {
        Ok(Provider {
            issuer,
            audience: Audience::parse(self.audience.unwrap_or_default())?,
            audience_claims: ClaimPath::parse_list(self.audience_claim)?,
            source,
            token_file: self.jwks_token_file.map(PathBuf::from),
            algorithms: Algorithms::parse(self.allowed_algorithms)?,
            required_scope: scope_list(self.required_scope.unwrap_or_default()),
            required_claims: self.required_claims.map(RequiredClaims::parse).transpose()?.unwrap_or_default(),
            token_type: self.token_type,
            user_claim: ClaimPath::parse(self.user_claim)?,
            role_claim: ClaimPath::parse(self.role_claim)?,
            tenant_claim: self.tenant_claim.map(ClaimPath::parse).transpose()?,
            authn_claim: self.authn_claim.map(ClaimPath::parse).transpose()?,
            leeway: self.leeway,
            max_token_age: self.max_token_age,
            max_token_lifetime: self.max_token_lifetime,
        })
    }
}
