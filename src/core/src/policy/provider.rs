//! What an operator trusts: the typed form of the trust settings.

use std::path::PathBuf;
use std::sync::Arc;

use crate::claims::{ClaimPath, ClaimSet};
use crate::jose::algorithm::Algorithms;
use crate::jose::jwks::{KeySet, Trust};
use crate::policy::issuer_name::IssuerName;
use crate::policy::required_claims::RequiredClaims;
use crate::time::Span;
use crate::url::is_url;

/// One issuer and all that is asked of its tokens.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What `iss` must be.
    pub issuer: IssuerName,
    /// The accepted audiences.
    pub audience: Audience,
    /// Where a token's audiences are: the first of these claims that it has.
    pub audience_claims: Vec<ClaimPath>,
    /// Where its keys come from.
    pub source: Source,
    /// The file of a token to show to where they come from.
    pub token_file: Option<PathBuf>,
    /// The signature algorithms it may use.
    pub algorithms: Algorithms,
    /// Scopes that each token must carry.
    pub required_scope: Vec<String>,
    /// Claims that each token must have.
    pub required_claims: RequiredClaims,
    /// What kind of token is accepted.
    pub token_type: TokenType,
    /// Who the user of a token is.
    pub user_claim: ClaimPath,
    /// Where the roles of a token are.
    pub role_claim: ClaimPath,
    /// Where the tenant or tenants of a token are, if tokens have them.
    pub tenant_claim: Option<ClaimPath>,
    /// Who logs in with a token, if that is not the user's claim.
    pub authn_claim: Option<ClaimPath>,
    /// Allowed clock skew.
    pub leeway: Span,
    /// Reject tokens issued longer ago than this.
    pub max_token_age: Option<Span>,
    /// Reject tokens that expire later than this.
    pub max_token_lifetime: Option<Span>,
}

impl Provider {
    /// The user of a token with these claims: a string that is not empty, or a whole number of at most 64 bits. `None` if
    /// the claim is missing.
    pub fn user(&self, claims: &ClaimSet) -> Option<String> {
        claims.identifier_at(&self.user_claim)
    }

    /// Whether the claim that names the user is there, and is no name: that must not pass for nobody's.
    pub fn misnames_user(&self, claims: &ClaimSet) -> bool {
        claims.at(&self.user_claim).is_some() && self.user(claims).is_none()
    }

    /// The claim that says who logs in.
    pub fn authn_claim(&self) -> &ClaimPath {
        self.authn_claim.as_ref().unwrap_or(&self.user_claim)
    }
}

/// The accepted audiences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Nothing was configured: no token is accepted.
    Unset,
    /// `*`: the operator says openly that audiences are not checked.
    Any,
    /// At least one of these must be in the token.
    OneOf(Vec<String>),
}

impl Audience {
    /// Parses `*` or a comma-separated list. The error is a full sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of(list(text))
    }

    /// The audiences of these names; `*` alone stands for any. The error is a full sentence.
    pub fn of(names: Vec<String>) -> Result<Self, String> {
        if names.is_empty() {
            return Ok(Self::Unset);
        }
        if names.iter().any(String::is_empty) {
            return Err("An audience is empty.".into());
        }
        match names.iter().any(|name| name == "*") {
            true if names.len() > 1 => Err("\"*\" cannot be combined with other audiences.".into()),
            true => Ok(Self::Any),
            false => Ok(Self::OneOf(names)),
        }
    }
}

/// What kind of token is accepted (`pg_jwks.token_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Any JWT.
    Any,
    /// Access tokens by RFC 9068: `typ` must be `at+jwt`.
    Access,
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From a setting.
    Inline(Arc<KeySet>),
    /// From a file of the server: JWKS or PEM.
    File(PathBuf),
    /// From a JWKS URL.
    Url(String),
    /// From the JWKS URL in the discovery document of this issuer (OpenID Connect Discovery 1.0 §4).
    Discovery(String),
    /// From nowhere: the issuer is no URL and no other source is set.
    Unset,
}

impl Source {
    /// Parses `pg_jwks.jwks_uri`: an `https:` or `http:` URL, or `file:` with an absolute path. The error is a full
    /// sentence.
    pub fn parse_uri(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            // RFC 8089 §2 allows file:/path and file:///path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(Self::File(PathBuf::from(path))),
                false => Err("The path of a \"file:\" URI must be absolute.".into()),
            };
        }
        match is_url(text) {
            true => Ok(Self::Url(text.to_owned())),
            false => Err(format!("\"{text}\" is not an \"https:\" URL nor a \"file:\" URI.")),
        }
    }

    /// Parses `pg_jwks.jwks`.
    pub fn parse_inline(text: &str) -> Result<Self, String> {
        KeySet::parse(text.as_bytes(), Trust::Local).map(|keys| Self::Inline(Arc::new(keys)))
    }

    /// The source of an issuer for which none is set.
    pub fn of_issuer(issuer: &str) -> Self {
        match is_url(issuer) {
            true => Self::Discovery(issuer.to_owned()),
            false => Self::Unset,
        }
    }
}

/// The non-empty items of a comma-separated list, trimmed.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The scopes of a list separated by spaces or commas (`pg_jwks.required_scope`).
pub fn scope_list(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// Checks the characters of such a list (RFC 6749 §3.3). The error is a full sentence.
pub fn check_scopes(text: &str) -> Result<(), String> {
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte)) {
        true => Ok(()),
        false => Err("A scope has a character that is not allowed in scopes.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences() {
        assert_eq!(Audience::parse(" "), Ok(Audience::Unset));
        assert_eq!(Audience::parse("*"), Ok(Audience::Any));
        assert_eq!(Audience::parse("a, b"), Ok(Audience::OneOf(vec!["a".into(), "b".into()])));
        assert!(Audience::parse("*, a").is_err());
    }

    #[test]
    fn uris() {
        assert!(matches!(Source::parse_uri("https://a.example/jwks"), Ok(Source::Url(_))));
        for url in ["https://a.example:8443/jwks", "http://127.0.0.1:1?x=a:b", "https://[::1]:65535/", "https://[::1]"]
        {
            assert!(matches!(Source::parse_uri(url), Ok(Source::Url(_))), "{url}");
        }
        for file in ["file:/etc/keys.pem", "file:///etc/keys.pem"] {
            assert!(
                matches!(Source::parse_uri(file), Ok(Source::File(path)) if path.to_str() == Some("/etc/keys.pem"))
            );
        }
        for bad in [
            "",
            "a.example",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://:443/",
            "https://u:p@a.example/",
            "https://a.example:65536/",
            "https://a.example:0/",
            "https://a.example:/",
            "https://a.example:+443/",
            "https://a.example:https/",
            "https://a.example:1:2/",
            "https://[::1/",
            "https://[::1]8443/",
            "https://[::1]:99999/",
            "https://::1/",
            "https://[]/",
            "https://a[]/",
            "https://a[::1]/",
            "HTTPS://a.example/",
            "https://a b/",
            "https://a/#x",
            "file:keys.pem",
            "file://host/keys",
        ] {
            assert!(Source::parse_uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_issuer_that_is_no_url_has_no_source() {
        assert!(matches!(Source::of_issuer("sophia-ai"), Source::Unset));
        assert!(matches!(Source::of_issuer("https://a.example/realm/"), Source::Discovery(_)));
    }
}
