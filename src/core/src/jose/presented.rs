//! What a token says of itself, before anybody believes it.

use serde_json::{Map, Value};

use super::token::Unverified;
use crate::excerpt::excerpt;

/// The members of a token that help to find out where it came from and for whom it was made. They are not facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// Claim `iss`.
    pub iss: Option<String>,
    /// Claim `aud`: its values.
    pub aud: Vec<String>,
    /// Header parameter `kid`.
    pub kid: Option<String>,
}

/// Further values of `aud` are left out.
const MOST_AUDIENCES: usize = 8;

impl Presented {
    /// What this token says; nothing if it is malformed.
    pub fn of(token: &[u8]) -> Self {
        let Ok(token) = Unverified::parse(token) else { return Self::default() };
        let claims = token.claims.as_ref().ok();
        let claim = |name| claims.and_then(|claims| claims.claim(name));
        let aud = match claim("aud") {
            Some(Value::Array(values)) => values.iter().filter_map(text).take(MOST_AUDIENCES).collect(),
            aud => aud.and_then(text).into_iter().collect(),
        };
        Self { iss: claim("iss").and_then(text), aud, kid: token.header.kid.as_deref().map(excerpt) }
    }

    /// The same as members of a JSON object, without those that the token does not have.
    pub fn members(self) -> Map<String, Value> {
        let aud = (!self.aud.is_empty()).then(|| self.aud.into());
        let members = [("iss", self.iss.map(Value::String)), ("aud", aud), ("kid", self.kid.map(Value::String))];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(excerpt)
}
