//! The compact serialization of a JWS (RFC 7515 §7.1), parsed and not yet believed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::bounds::MAX_TOKEN_BYTES;
use crate::claims::ClaimSet;
use crate::jose::jwks::KeyName;
use crate::json::{ObjectError, unique_object};
use crate::rejection::{Reason, Rejection};

/// The header members that matter. `jku`, `x5u`, `x5c` and `jwk` are never read: a token cannot bring its own key
/// (RFC 8725 §3.10).
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    /// `x5t#S256`, else `x5t`.
    thumbprint: Option<String>,
    pub(crate) typ: Option<String>,
}

impl Header {
    /// How the token names its key.
    pub(crate) fn key_name(&self) -> KeyName<'_> {
        match (&self.kid, &self.thumbprint) {
            (Some(kid), _) => KeyName::Kid(kid),
            (None, Some(thumbprint)) => KeyName::Thumbprint(thumbprint),
            (None, None) => KeyName::None,
        }
    }
}

/// A well-formed token about which nothing is known.
pub struct Unverified<'t> {
    pub(crate) header: Header,
    pub(crate) signing_input: &'t str,
    pub(crate) signature: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) claims: Result<ClaimSet, ObjectError>,
}

impl<'t> Unverified<'t> {
    /// Parses the size, the three parts (RFC 7515 §7.1), their base64url without padding (RFC 7515 §2), and the header.
    /// A payload that cannot be read is no error yet: its signature may still be looked at. The error is of
    /// [`crate::rejection::Check::Format`].
    pub fn parse(token: &'t [u8]) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            let detail = format!("A token has at most {MAX_TOKEN_BYTES} bytes; this one has {}.", token.len());
            return Err(Rejection::new(Reason::TokenTooLarge, detail));
        }
        let text = std::str::from_utf8(token).map_err(|_| not_base64url(token))?;
        let (signing_input, signature) = text.rsplit_once('.').ok_or_else(|| not_compact(text))?;
        let (header, payload) = signing_input.split_once('.').ok_or_else(|| not_compact(text))?;
        if payload.contains('.') {
            return Err(not_compact(text));
        }
        let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| not_base64url(token));
        let (header, payload, signature) = (decoded(header)?, decoded(payload)?, decoded(signature)?);
        let header = parse_header(&header)?;
        let claims = unique_object(&payload).map(ClaimSet::new);
        Ok(Self { header, signing_input, signature, payload, claims })
    }
}

/// Nothing of the token: it could end up in a log.
impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

fn parse_header(bytes: &[u8]) -> Result<Header, Rejection> {
    let malformed = |detail: &str| Rejection::new(Reason::HeaderMalformed, detail);
    // White space before it would be JSON, but then the token would not begin as crate::redaction expects of tokens.
    if !bytes.starts_with(b"{") {
        return Err(malformed("The header is not a JSON object."));
    }
    let mut members = unique_object(bytes).map_err(|error| match error {
        ObjectError::NotAnObject => malformed("The header is not a JSON object."),
        ObjectError::Duplicate => malformed("A header parameter appears twice."),
    })?;
    // No extension is understood, so each that claims to be critical must be refused (RFC 7515 §4.1.11). An
    // unencoded payload (RFC 7797) is one of them.
    if members.contains_key("crit") {
        return Err(Rejection::new(
            Reason::CriticalHeader,
            "Header parameter \"crit\" names extensions; none is supported.",
        ));
    }
    let mut text = |name: &str| match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(&format!("Header parameter \"{name}\" is not a string."))),
    };
    let alg = text("alg")?.ok_or_else(|| malformed("The header has no \"alg\"."))?;
    let [sha256, sha1] = [text("x5t#S256")?, text("x5t")?];
    let thumbprint = sha256.or(sha1);
    Ok(Header { alg, kid: text("kid")?, thumbprint, typ: text("typ")? })
}

fn not_compact(text: &str) -> Rejection {
    let rejection = Rejection::new(Reason::NotCompact, "A JWT has three parts separated by dots.");
    match text.split('.').count() {
        1 => rejection.hint(
            "A token without dots is opaque: only its issuer can read it. Ask the issuer for a JWT; at many, naming an \
             audience or a resource is what makes it one.",
        ),
        5 => rejection.hint("A token of five parts is encrypted (JWE), which is not supported."),
        _ => {
            rejection.hint("Pass the whole token: parts of it seem to be missing, or more than the token to be there.")
        }
    }
}

fn not_base64url(token: &[u8]) -> Rejection {
    let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
    let has = |wanted: fn(&u8) -> bool| token.iter().any(wanted);
    let hint = if token.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer ")) {
        "Pass the token alone, without \"Bearer \" before it."
    } else if is_quote(token.first()) || is_quote(token.last()) {
        "Pass the token without the quotes around it."
    } else if has(u8::is_ascii_whitespace) {
        "Pass the token without white space and line breaks."
    } else if has(|byte| *byte == b'=') {
        "Its parts are padded with \"=\": whoever made it must leave the padding out (RFC 7515)."
    } else if has(|byte| matches!(byte, b'+' | b'/')) {
        "Its parts are in standard base64, with \"+\" and \"/\": whoever made it must use base64url (RFC 7515)."
    } else {
        "Pass the token alone and whole."
    };
    Rejection::new(Reason::NotBase64Url, "Each part of a JWT is base64url without padding.").hint(hint)
}
