//! JSON as tokens need it: objects whose member names are unique, and text that survives any server encoding.
//!
//! `serde_with` can refuse duplicates too, but locks a dozen crates that nothing here uses.

use std::ffi::{CStr, CString};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Why a text is not an object with unique members.
#[derive(Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// Not JSON, not UTF-8, or not an object; or nested more than 127 levels deep, or with a number beyond a double.
    NotAnObject,
    /// A member name appears twice (RFC 7515 §4 and RFC 7519 §4 allow refusing those).
    Duplicate,
}

const DUPLICATE: &str = "duplicate member";

struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom(DUPLICATE));
                    }
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Parses one JSON object and refuses duplicate members at its top level.
pub fn unique_object(text: &[u8]) -> Result<Map<String, Value>, ObjectError> {
    match serde_json::from_slice::<Unique>(text) {
        Ok(Unique(map)) => Ok(map),
        Err(error) if error.is_data() && error.to_string().starts_with(DUPLICATE) => Err(ObjectError::Duplicate),
        Err(_) => Err(ObjectError::NotAnObject),
    }
}

/// The same JSON text with every character above ASCII as `\uXXXX`. Valid JSON has such characters inside strings
/// only, so the meaning stays.
pub fn ascii_escaped(json: &str) -> String {
    if json.is_ascii() {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// The text of a JSON object in ASCII, as settings of PostgreSQL hold it. Copies share it.
#[derive(Clone, Debug, PartialEq)]
pub struct AsciiJson(Arc<CStr>);

impl AsciiJson {
    /// Of a JSON text, whose characters above ASCII become `\uXXXX`.
    pub(crate) fn of(json: String) -> Self {
        let ascii = if json.is_ascii() { json } else { ascii_escaped(&json) };
        let Ok(text) = CString::new(ascii) else { unreachable!("JSON text has no NUL") };
        Self(text.into())
    }

    /// As a C string.
    pub fn c_str(&self) -> &Arc<CStr> {
        &self.0
    }
}

impl Deref for AsciiJson {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicates_are_found_also_through_escapes() {
        assert_eq!(unique_object(br#"{"sub":"a","sub":"b"}"#), Err(ObjectError::Duplicate));
        assert_eq!(unique_object(br#"{"sub":"a","\u0073ub":"b"}"#), Err(ObjectError::Duplicate));
        assert!(unique_object(br#"{"a":{"b":1},"b":1}"#).is_ok());
    }

    #[test]
    fn only_objects_are_objects() {
        for bad in [&b"[]"[..], b"1", b"\"x\"", b"null", b"", b"{", b"{} {}", b"{\"a\":\"\xff\"}", b"{'a':1}"] {
            assert_eq!(unique_object(bad), Err(ObjectError::NotAnObject), "{bad:?}");
        }
    }

    #[test]
    fn escapes_beyond_the_basic_plane_are_surrogate_pairs() {
        assert_eq!(ascii_escaped("{\"a\":\"é😀\"}"), r#"{"a":"\u00e9\ud83d\ude00"}"#);
    }

    proptest! {
        #[test]
        fn escaping_keeps_the_value_and_is_ascii(text in ".*", name in ".*") {
            let json = serde_json::json!({ name: text }).to_string();
            let escaped = ascii_escaped(&json);
            prop_assert!(escaped.is_ascii());
            prop_assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), serde_json::from_str::<Value>(&json).unwrap());
        }
    }
}
