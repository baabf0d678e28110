//! How claims are read, whoever stated them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::claims::path::ClaimPath;
use crate::digest::{Digest, digest};
use crate::time::Timestamp;

/// The members of a payload. It proves nothing: what may be believed has a type of its own, which can be read as this
/// one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimSet(Map<String, Value>);

impl ClaimSet {
    pub(crate) fn new(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// Reads a JSON object, which proves nothing; `None` if the text is not one.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// A claim at the top level, whatever its type.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim at the top level, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claim(name)?.as_str()
    }

    /// The claim at the end of `path`; `None` if a step of it is missing or no object.
    pub fn at(&self, path: &ClaimPath) -> Option<&Value> {
        let (first, rest) = path.names().split_first()?;
        rest.iter().try_fold(self.claim(first)?, |value, name| value.get(name))
    }

    /// `sub` of claim `act`: who acts for the subject (RFC 8693 §4.1).
    pub fn actor(&self) -> Option<&str> {
        self.claim("act")?.get("sub")?.as_str()
    }

    /// Claim `o` (the active organisation, as Neon Auth and Clerk write it), if it is an object.
    pub fn organization(&self) -> Option<&Map<String, Value>> {
        self.claim("o")?.as_object()
    }

    /// `id` of claim `o` as a UUID.
    pub fn organization_id(&self) -> Option<[u8; 16]> {
        uuid(self.organization()?.get("id")?.as_str()?)
    }

    /// `exp` (RFC 7519 §4.1.4); `None` if it is missing or not a NumericDate.
    pub fn expires(&self) -> Option<Timestamp> {
        Timestamp::from_numeric_date(self.claim("exp")?)
    }

    /// The scopes of `scope` (RFC 8693 §4.2) and of `scp`, which some issuers write instead: words with spaces between
    /// them, or an array.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let words = ["scope", "scp"].into_iter().filter_map(|name| self.claim(name)).flat_map(strings);
        words.flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty())
    }

    /// Whether the token carries `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|own| own == scope)
    }

    /// Whether `role` is one of [`ClaimSet::roles_at`].
    pub fn has_role(&self, path: &ClaimPath, role: &str) -> bool {
        self.roles_at(path).any(|own| own == role)
    }

    /// The roles of the claim at `path`: a string, the strings of an array, or, as Zitadel writes them, the names of an
    /// object's members that are objects. What `{"admin": false}` means nobody knows, so it gives none.
    pub fn roles_at(&self, path: &ClaimPath) -> impl Iterator<Item = &str> {
        let members = self.at(path).and_then(Value::as_object).into_iter().flatten();
        let granted = members.filter(|(_, value)| value.is_object()).map(|(name, _)| name.as_str());
        self.strings_at(path).chain(granted)
    }

    /// The claim at `path` if it is a string, or the strings in it if it is an array.
    pub fn strings_at(&self, path: &ClaimPath) -> impl Iterator<Item = &str> {
        self.at(path).into_iter().flat_map(strings)
    }

    /// The claim at `path` as text: strings as they are, other values as JSON. `None` if it is missing or null. `json` is
    /// what the claims were read from: a value with a number that has lost digits in reading is as it was written there.
    pub fn text_at(&self, path: &ClaimPath, json: &str) -> Option<String> {
        match self.at(path)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other if is_exact(other) => Some(other.to_string()),
            _ => written_at(json, path).map(str::to_owned),
        }
    }

    /// Whether the claim at `path` restricts: missing, null and false do not, nor does the text `false`; anything else
    /// does, so that a restriction that is spelt in an unexpected way still holds.
    pub fn restricts(&self, path: &ClaimPath) -> bool {
        match self.at(path) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => text != "false",
            Some(_) => true,
        }
    }

    /// The identifiers at `path`, each once: a string that is not empty, a whole number of at most 64 bits, or an array
    /// of them. Anything else names nothing.
    pub fn identifiers_at(&self, path: &ClaimPath) -> Vec<String> {
        let values = match self.at(path) {
            Some(Value::Array(list)) => list.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        let mut identifiers = Vec::new();
        for identifier in values.iter().filter_map(identifier) {
            if !identifiers.contains(&identifier) {
                identifiers.push(identifier);
            }
        }
        identifiers
    }

    /// The identifier at `path`: a string that is not empty, or a whole number of at most 64 bits. `None` if there is
    /// anything else.
    pub fn identifier_at(&self, path: &ClaimPath) -> Option<String> {
        identifier(self.at(path)?)
    }

    /// A digest of `iss` and the user, which together name one (RFC 7519 §4.1.2). A missing `iss` is none of any name.
    pub fn user_digest(&self, user: &str) -> Digest {
        let names = Value::from(vec![Value::from(self.text("iss")), user.into()]);
        digest(names.to_string().as_bytes())
    }

    /// Whether all numbers in them are whole and of at most 64 bits.
    pub fn have_whole_numbers(&self) -> bool {
        self.0.values().all(is_exact)
    }

    /// The values of `aud`: a string or an array of them (RFC 7519 §4.1.3).
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.claim("aud").into_iter().flat_map(strings)
    }
}

/// A string, or the strings of an array.
fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let (one, many) = match value {
        Value::Array(list) => (None, list.as_slice()),
        other => (other.as_str(), &[][..]),
    };
    one.into_iter().chain(many.iter().filter_map(Value::as_str))
}

fn identifier(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        // A fraction or an exponent has many spellings, and a larger number has lost digits on the way.
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Whether no number in it can have lost digits in reading: all are whole and of at most 64 bits.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// The text of the value at `path`; of members with one name the last, as everywhere.
fn written_at<'j>(json: &'j str, path: &ClaimPath) -> Option<&'j str> {
    path.names().iter().try_fold(json, |object, name| {
        let members: BTreeMap<String, &'j RawValue> = serde_json::from_str(object).ok()?;
        members.get(name).map(|value| value.get())
    })
}

/// Reads a UUID as PostgreSQL does: in the form of RFC 9562 §4, in braces or not, with a hyphen after each four digits, after
/// some, or without. `None` for any other spelling.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let is_grouped = digits.split('-').all(|group| !group.is_empty() && group.len().is_multiple_of(4));
    let digits = digits.replace('-', "");
    // No other form that `Uuid` takes has this length.
    match is_grouped && digits.len() == uuid::fmt::Simple::LENGTH {
        true => Uuid::try_parse(&digits).ok().map(Uuid::into_bytes),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> ClaimSet {
        ClaimSet(value.as_object().unwrap().clone())
    }

    #[test]
    fn scopes_are_words_not_substrings() {
        let claims = set(json!({"scope": "read:all write", "scp": ["admin", 7]}));
        for (scope, expected) in [
            ("read:all", true),
            ("write", true),
            ("admin", true),
            ("read", false),
            ("", false),
            ("read:all write", false),
        ] {
            assert_eq!(claims.has_scope(scope), expected, "{scope}");
        }
    }

    #[test]
    fn roles_are_found_at_a_path() {
        let claims =
            set(json!({"role": "writer", "realm_access": {"roles": ["admin"]}, "https://x.example/roles": ["r"]}));
        let has = |path: &str, role: &str| claims.has_role(&ClaimPath::parse(path).unwrap(), role);
        assert!(has("role", "writer") && has("realm_access.roles", "admin") && has("https://x.example/roles", "r"));
        assert!(has(r#"["realm_access","roles"]"#, "admin"));
        assert!(!has("role", "write") && !has("realm_access", "admin") && !has("role.x", "writer"));
    }

    /// What Zitadel writes: each role with the organisations in which it was granted.
    #[test]
    fn the_members_of_an_object_are_roles() {
        let claims = set(json!({"urn:zitadel:iam:org:project:roles": {
            "admin": {"271": "acme.example"}, "reader": {}, "owner": false, "root": true, "boss": "admin", "x": null}}));
        let path = ClaimPath::parse("urn:zitadel:iam:org:project:roles").unwrap();
        let mut roles: Vec<_> = claims.roles_at(&path).collect();
        roles.sort_unstable();
        assert_eq!(roles, ["admin", "reader"]);
        assert!(claims.has_role(&path, "admin") && !claims.has_role(&path, "271"));
        assert!(!claims.has_role(&ClaimPath::parse("x").unwrap(), "admin"));
    }

    #[test]
    fn claims_as_text() {
        let claims = set(json!({"s": "a\"b", "n": 7, "b": true, "z": null, "a": ["x", 1], "o": {"k": "v"}}));
        let text = |path: &str| claims.text_at(&ClaimPath::parse(path).unwrap(), "{}");
        assert_eq!(text("s").as_deref(), Some("a\"b"));
        assert_eq!(text("n").as_deref(), Some("7"));
        assert_eq!(text("b").as_deref(), Some("true"));
        assert_eq!(text("a").as_deref(), Some(r#"["x",1]"#));
        assert_eq!(text("o").as_deref(), Some(r#"{"k":"v"}"#));
        assert_eq!((text("z"), text("missing"), text("s.k")), (None, None, None));
    }

    #[test]
    fn numbers_that_a_double_cannot_tell_apart_are_as_they_were_written() {
        let json = r#"{"n":12345678901234567890123,"o":{"a":[1,12345678901234567890124,"\u00e9"]},"f":1e3,"d":0.10,
                      "x":{"n":1.0},"x":{"n":1.00}}"#;
        let claims = ClaimSet::parse(json).unwrap();
        let text = |path: &str| claims.text_at(&ClaimPath::parse(path).unwrap(), json);
        for (path, expected) in [
            ("n", "12345678901234567890123"),
            ("o", r#"{"a":[1,12345678901234567890124,"\u00e9"]}"#),
            ("o.a", r#"[1,12345678901234567890124,"\u00e9"]"#),
            ("f", "1e3"),
            ("d", "0.10"),
            ("x.n", "1.00"),
        ] {
            assert_eq!(text(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!((text("o.n"), text("n.o")), (None, None));
    }

    #[test]
    fn a_restriction_holds_however_it_is_spelt() {
        let path = ClaimPath::parse("read_only").unwrap();
        for yes in [json!(true), json!("true"), json!("TRUE"), json!(1), json!(0), json!(""), json!([])] {
            assert!(set(json!({"read_only": yes})).restricts(&path), "{yes}");
        }
        for no in [json!({}), json!({"read_only": null}), json!({"read_only": false}), json!({"read_only": "false"})] {
            assert!(!set(no.clone()).restricts(&path), "{no}");
        }
    }

    #[test]
    fn identifiers_are_strings_and_whole_numbers() {
        let large = serde_json::from_str::<Value>("123456789012345678901234567890").unwrap();
        let claims = set(json!({
            "s": "a", "n": 42, "negative": -7, "most": u64::MAX, "list": ["b", 7, "a", "7", "b"], "mixed": ["a", {}, [], null, true, ""],
            "empty": "", "none": [], "null": null, "yes": true, "object": {"id": "a"}, "fraction": 1.5, "whole": 1.0, "large": large,
        }));
        let at = |path: &str| claims.identifiers_at(&ClaimPath::parse(path).unwrap());
        assert_eq!(at("s"), ["a"]);
        assert_eq!(at("n"), ["42"]);
        assert_eq!(at("negative"), ["-7"]);
        assert_eq!(at("most"), ["18446744073709551615"]);
        assert_eq!(at("list"), ["b", "7", "a"]);
        assert_eq!(at("mixed"), ["a"]);
        assert_eq!(at("object.id"), ["a"]);
        for nothing in ["empty", "none", "null", "yes", "object", "fraction", "whole", "large", "missing"] {
            assert_eq!(at(nothing), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn a_digest_names_one_user() {
        let of = |iss: &str, user: &str| set(json!({"iss": iss, "exp": 1})).user_digest(user);
        assert_eq!(of("a", "b"), set(json!({"iss": "a"})).user_digest("b"));
        for (iss, sub) in [("a", "c"), ("b", "a"), ("ab", ""), ("", "ab"), ("a\",\"b", "")] {
            assert_ne!(of("a", "b"), of(iss, sub), "{iss} {sub}");
        }
        let without = set(json!({"sub": "a"})).user_digest("b");
        assert!(["", "null", "a"].iter().all(|iss| of(iss, "b") != without));
    }

    #[test]
    fn a_uuid_is_read_as_postgresql_reads_it() {
        let expected = uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
        assert!(expected.is_some());
        for good in [
            "6BA7B810-9DAD-11D1-80B4-00C04FD430C8",
            "6ba7b8109dad11d180b400c04fd430c8",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
            "{6BA7B8109dad11d180b400c04fd430c8}",
            "6ba7-b810-9dad-11d1-80b4-00c0-4fd4-30c8",
            "6ba7b810-9dad11d1-80b400c04fd430c8",
        ] {
            assert_eq!(uuid(good), expected, "{good}");
        }
        for bad in [
            "",
            "user_2abc",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8-",
            "-6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810--9dad-11d1-80b4-00c04fd430c8",
            "6ba7b81-09dad-11d1-80b4-00c04fd430c8",
            "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8 ",
            "6ba7b810-9dad-11d1-80b4-00c04fd430é8",
            "6ba7b8109-dad-11d1-80b4-00c04fd430c8",
        ] {
            assert_eq!(uuid(bad), None, "{bad}");
        }
    }
}
