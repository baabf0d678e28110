//! OpenID Connect Discovery 1.0 §4: from an issuer to its JWKS URL.

use serde::Deserialize;

use crate::excerpt::quoted;
use crate::near_miss::difference;
use crate::url::is_url;

/// What is added to an issuer (§4.1).
pub const DOCUMENT: &str = "/.well-known/openid-configuration";

/// The URL of an issuer's discovery document (§4.1: a trailing slash of the issuer is removed first).
pub fn document_url(issuer: &str) -> String {
    format!("{}{DOCUMENT}", issuer.trim_end_matches('/'))
}

/// The URLs of an issuer's document of RFC 8414 §3.1, where it puts the well-known part, before the issuer's path, and where
/// many providers put it, behind.
pub fn metadata_urls(issuer: &str) -> [String; 2] {
    const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
    let issuer = issuer.trim_end_matches('/');
    let authority = issuer.find("://").map_or(0, |scheme| scheme + 3);
    let path = issuer[authority..].find('/').map_or(issuer.len(), |path| authority + path);
    [format!("{}{WELL_KNOWN}{}", &issuer[..path], &issuer[path..]), format!("{issuer}{WELL_KNOWN}")]
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// The JWKS URL that a discovery document names, if the document is of this very issuer (§4.3). The error is a full
/// sentence.
pub fn jwks_uri(document: &[u8], issuer: &str) -> Result<String, String> {
    let document: Document = serde_json::from_slice(document)
        .map_err(|_| "The discovery document is not a JSON object with \"issuer\" and \"jwks_uri\".".to_string())?;
    if document.issuer != issuer {
        let own = quoted(&document.issuer);
        let near = difference(&document.issuer, issuer).map(|words| format!(" {words}")).unwrap_or_default();
        return Err(format!("The discovery document is of issuer {own}, not of \"{issuer}\".{near}"));
    }
    match is_url(&document.jwks_uri) {
        true => Ok(document.jwks_uri),
        false => Err("Member \"jwks_uri\" of the discovery document is not a URL.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_stands_below_the_issuer() {
        assert_eq!(document_url("https://a.example/"), "https://a.example/.well-known/openid-configuration");
        assert_eq!(document_url("https://a.example/r"), "https://a.example/r/.well-known/openid-configuration");
    }

    #[test]
    fn the_document_of_oauth_stands_before_the_path_or_behind_it() {
        let [before, behind] = metadata_urls("https://a.example/r/");
        assert_eq!(before, "https://a.example/.well-known/oauth-authorization-server/r");
        assert_eq!(behind, "https://a.example/r/.well-known/oauth-authorization-server");
        let [before, behind] = metadata_urls("https://a.example");
        assert_eq!(before, behind);
    }

    #[test]
    fn another_issuer_is_refused() {
        let document = br#"{"issuer":"https://a.example","jwks_uri":"https://keys.example/jwks"}"#;
        assert_eq!(jwks_uri(document, "https://a.example"), Ok("https://keys.example/jwks".into()));
        assert!(jwks_uri(document, "https://a.example/").is_err());
        for bad in [&b"[]"[..], b"{}", b"", br#"{"issuer":"https://a.example","jwks_uri":"file:/etc/passwd"}"#] {
            assert!(jwks_uri(bad, "https://a.example").is_err());
        }
    }
}
