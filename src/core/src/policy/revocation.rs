//! Revocations: which tokens an entry means.

use crate::claims::ClaimSet;
use crate::digest::Digest;
use crate::time::Timestamp;

/// What identifies a token and its bearer, as entries name them.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'c> {
    /// The token's digest, if the token is known.
    pub token: Option<&'c Digest>,
    /// The user.
    pub user: Option<&'c str>,
    /// Claim `sid` (OpenID Connect Front-Channel Logout 1.0 §3), or else `session_id`.
    pub session: Option<&'c str>,
    /// Claim `jti` (RFC 7519 §4.1.7).
    pub token_id: Option<&'c str>,
    /// Claim `iss`.
    pub issuer: Option<&'c str>,
    /// Claim `iat`.
    pub issued: Option<Timestamp>,
}

/// How much of a key the index of the entries has.
pub const MAX_KEY_CHARACTERS: usize = 200;

impl<'c> Subject<'c> {
    /// Of a token with these claims; `user` is who they say the bearer is.
    pub fn of(claims: &'c ClaimSet, user: Option<&'c str>, token: Option<&'c Digest>) -> Self {
        Self {
            token,
            user,
            session: claims.text("sid").or_else(|| claims.text("session_id")),
            token_id: claims.text("jti"),
            issuer: claims.text("iss"),
            issued: claims.claim("iat").and_then(Timestamp::from_numeric_date),
        }
    }

    /// The keys under which entries that could mean it are found. An entry has one: that of the first that it names of
    /// token, token id, session, user, issuer, as far as [`MAX_KEY_CHARACTERS`].
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let cut = |key: String| key.chars().take(MAX_KEY_CHARACTERS).collect();
        let key = |kind: &str, value: Option<&str>| value.map(|value| cut(format!("{kind}:{value}")));
        let token = self.token.map(hex::encode);
        [
            key("token", token.as_deref()),
            key("token_id", self.token_id),
            key("session", self.session),
            key("subject", self.user),
            key("issuer", self.issuer),
        ]
        .into_iter()
        .flatten()
    }
}

/// What an entry names; all of it must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The digest of one token.
    pub token: Option<Vec<u8>>,
    /// A user.
    pub user: Option<String>,
    /// A session of the issuer.
    pub session: Option<String>,
    /// One token by its `jti`.
    pub token_id: Option<String>,
    /// An issuer.
    pub issuer: Option<String>,
    /// Tokens that were issued later are not meant, unless the entry names one token.
    pub issued_before: Option<Timestamp>,
}

impl Entry {
    /// Whether the entry means this token. One without `iat` was issued before any moment.
    pub fn means(&self, subject: &Subject) -> bool {
        let fits = |named: &Option<String>, own: Option<&str>| named.as_deref().is_none_or(|named| own == Some(named));
        let names_one_token = self.token.is_some() || self.token_id.is_some();
        let is_early = match (self.issued_before, subject.issued) {
            (Some(bound), Some(issued)) => issued < bound,
            (None, _) | (_, None) => true,
        };
        self.token.as_deref().is_none_or(|named| subject.token.is_some_and(|own| named == own))
            && fits(&self.user, subject.user)
            && fits(&self.session, subject.session)
            && fits(&self.token_id, subject.token_id)
            && fits(&self.issuer, subject.issuer)
            && (names_one_token || is_early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"iss":"i","sub":"alice","sid":"s","session_id":"t","jti":"j","iat":100}"#;
    const TOKEN: Digest = [7; 32];

    fn means(entry: &Entry, claims: &str) -> bool {
        let claims = ClaimSet::parse(claims).unwrap();
        entry.means(&Subject::of(&claims, claims.text("sub"), Some(&TOKEN)))
    }

    fn text(text: &str) -> Option<String> {
        Some(text.into())
    }

    #[test]
    fn an_entry_means_what_all_of_it_fits() {
        let user = Entry { user: text("alice"), ..Entry::default() };
        for entry in [
            user.clone(),
            Entry { token: Some(TOKEN.to_vec()), ..Entry::default() },
            Entry { session: text("s"), ..Entry::default() },
            Entry { token_id: text("j"), ..Entry::default() },
            Entry { issuer: text("i"), ..Entry::default() },
            Entry { issuer: text("i"), session: text("s"), ..user.clone() },
        ] {
            assert!(means(&entry, CLAIMS), "{entry:?}");
        }
        for entry in [
            Entry { user: text("Alice"), ..Entry::default() },
            Entry { token: Some(vec![7; 31]), ..Entry::default() },
            Entry { session: text("t"), ..Entry::default() },
            Entry { issuer: text("j"), ..user.clone() },
            Entry { token_id: text("x"), ..user },
        ] {
            assert!(!means(&entry, CLAIMS), "{entry:?}");
        }
        assert!(means(&Entry { session: text("t"), ..Entry::default() }, r#"{"session_id":"t"}"#));
        assert!(!means(&Entry { user: text("1"), ..Entry::default() }, r#"{"sub":1}"#));
    }

    #[test]
    fn tokens_that_were_issued_later_are_not_meant() {
        let bound = |seconds| Entry {
            user: text("alice"),
            issued_before: Some(Timestamp::from_seconds(seconds)),
            ..Entry::default()
        };
        assert!(means(&bound(101), CLAIMS));
        assert!(!means(&bound(100), CLAIMS));
        assert!(means(&bound(0), r#"{"sub":"alice"}"#));
        assert!(means(&Entry { token_id: text("j"), ..bound(0) }, CLAIMS), "one token is meant whenever it was issued");
    }

    #[test]
    fn each_entry_is_found_by_one_key() {
        let claims = ClaimSet::parse(CLAIMS).unwrap();
        let subject = Subject::of(&claims, claims.text("sub"), Some(&TOKEN));
        let keys: Vec<_> = subject.keys().collect();
        assert_eq!(keys[0], format!("token:{}", "07".repeat(32)));
        assert_eq!(keys[1..], ["token_id:j", "session:s", "subject:alice", "issuer:i"]);
    }
}
