//! What other software gets wrong with tokens and keys: one test for each mistake that the core could make, named after
//! what holds here.

mod common;

use std::sync::Arc;

use common::*;
use pg_jwks_core::cache::freshness::{Freshness, Limits, Step, Upkeep};
use pg_jwks_core::cache::token_cache::{Remembered, TokenCache};
use pg_jwks_core::claims::uuid;
use pg_jwks_core::digest::digest;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::redaction::redact;
use pg_jwks_core::rejection::{Reason, Rejection};
use pg_jwks_core::time::{Span, Timestamp};
use pg_jwks_core::verification::verify::{Keys, VerifiedClaims, verify};
use serde_json::json;

const LIMITS: Limits = Limits {
    ttl: Span::from_seconds(3600),
    cooldown: Span::from_seconds(30),
    max_stale: Span::from_seconds(24 * 3600),
};

/// A backend that fetches keys from an issuer, remembers them and remembers tokens, as the extension does.
struct Backend {
    /// What the issuer publishes; `None` while it is unreachable.
    published: Option<Arc<KeySet>>,
    fetches: usize,
    freshness: Freshness,
    keys: Option<Arc<KeySet>>,
    tokens: TokenCache,
    hits: usize,
    now: Timestamp,
}

impl Backend {
    fn new(signers: &[&Signer]) -> Self {
        Self {
            published: Some(key_set(signers)),
            fetches: 0,
            freshness: Freshness::NEW,
            keys: None,
            tokens: TokenCache::new(8),
            hits: 0,
            now: NOW,
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now + Span::from_seconds(seconds);
    }

    fn fetch(&mut self) {
        self.fetches += 1;
        match &self.published {
            Some(keys) => {
                self.freshness.fetched(self.now, None, &LIMITS);
                self.keys = Some(keys.clone());
            }
            None => self.freshness.failed(self.now),
        }
    }

    fn step(&self) -> Step {
        self.freshness.step(self.now, &LIMITS, Upkeep::OnUse)
    }

    fn login(&mut self, token: &str) -> Result<Arc<VerifiedClaims>, Reason> {
        let server = Server::new(&[&RSA]);
        let (digest, now) = (digest(token.as_bytes()), self.now);
        let mut tokens = std::mem::replace(&mut self.tokens, TokenCache::new(0));
        let remembered = tokens.recall(&digest, self, now);
        self.tokens = tokens;
        if let Some(remembered) = remembered.map_err(|error| error.reason)? {
            self.hits += 1;
            return Ok(remembered.claims);
        }
        let claims = verify(token.as_bytes(), &server.providers(), self, now).map_err(|error| error.reason)?;
        let claims = Arc::new(claims);
        self.tokens.remember(digest, Remembered { claims: claims.clone(), unrevoked_at: 0 });
        Ok(claims)
    }
}

impl Keys for Backend {
    fn current(&mut self, _: &Provider) -> Result<Arc<KeySet>, Rejection> {
        if self.step() == Step::Fetch {
            self.fetch();
        }
        let (step, keys) = (self.step(), self.keys.clone());
        if step == Step::UseAndRefresh {
            self.fetch();
        }
        keys.filter(|_| matches!(step, Step::Use | Step::UseAndRefresh))
            .ok_or_else(|| Rejection::new(Reason::KeysUnavailable, "Keys could not be had."))
    }

    fn newer(&mut self, provider: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        if !self.freshness.may_fetch_for_unknown_key(self.now, &LIMITS) {
            return Ok(None);
        }
        self.freshness.missed(self.now, &LIMITS);
        self.fetch();
        self.current(provider).map(Some)
    }
}

fn long_lived(signer: &'static Signer) -> String {
    Token::new(signer).claim("exp", NOW.micros() / 1_000_000 + 1_000_000).text()
}

#[test]
fn a_cached_token_is_checked_for_exp_again() {
    let mut backend = Backend::new(&[&RSA]);
    let token = Token::new(&RSA).text();
    backend.login(&token).unwrap();
    backend.pass(299);
    backend.login(&token).unwrap();
    assert_eq!(backend.hits, 1);
    backend.pass(1);
    assert_eq!(backend.login(&token).unwrap_err(), Reason::Expired);
    backend.now = NOW + Span::from_seconds(-1);
    assert_eq!(backend.login(&token).unwrap_err(), Reason::NotYetValid);
}

#[test]
fn an_unknown_kid_refreshes() {
    let mut backend = Backend::new(&[&RSA]);
    backend.login(&long_lived(&RSA)).unwrap();
    backend.published = Some(key_set(&[&RSA, &RSA_OTHER]));
    backend.pass(1);
    backend.login(&long_lived(&RSA_OTHER)).unwrap();
    assert_eq!(backend.fetches, 2);
}

#[test]
fn unknown_kids_refresh_with_bounds() {
    let mut backend = Backend::new(&[&RSA]);
    backend.login(&long_lived(&RSA)).unwrap();
    for number in 0..600 {
        let token = Token::new(&RSA_OTHER).header("kid", format!("random-{number}")).text();
        assert_eq!(backend.login(&token).unwrap_err(), Reason::KeyUnknown);
        backend.pass(i64::from(number % 10 == 9));
    }
    assert_eq!(backend.fetches, 7, "one at first, and at 0, 1, 3, 7, 15 and 31 seconds");
    backend.login(&long_lived(&RSA)).unwrap();
}

#[test]
fn a_failed_fetch_replaces_no_good_keys() {
    let mut backend = Backend::new(&[&RSA]);
    backend.login(&long_lived(&RSA)).unwrap();
    backend.published = None;
    for _ in 0..23 {
        backend.pass(3600);
        backend.tokens = TokenCache::new(8);
        backend.login(&long_lived(&RSA)).unwrap();
        assert_eq!(backend.login(&long_lived(&RSA_OTHER)).unwrap_err(), Reason::KeyUnknown);
    }
    backend.pass(3600);
    assert_eq!(backend.login(&long_lived(&RSA)).unwrap_err(), Reason::KeysUnavailable);
}

#[test]
fn withdrawn_keys_verify_until_the_next_refresh() {
    let mut backend = Backend::new(&[&RSA, &RSA_OTHER]);
    let token = long_lived(&RSA_OTHER);
    backend.login(&token).unwrap();
    backend.published = Some(key_set(&[&RSA]));
    backend.pass(2879);
    backend.login(&token).unwrap();
    assert_eq!(backend.hits, 1, "the token is remembered");
    backend.pass(1);
    backend.login(&token).unwrap();
    assert_eq!(backend.fetches, 2, "this login began the refresh");
    assert_eq!(backend.login(&token).unwrap_err(), Reason::KeyUnknown, "remembered or not");
}

#[test]
fn the_cache_stores_keys_and_tokens() {
    let mut backend = Backend::new(&[&RSA, &P256]);
    let tokens = [long_lived(&RSA), long_lived(&P256)];
    for round in 0..5 {
        for token in &tokens {
            backend.login(token).unwrap();
        }
        assert_eq!((backend.hits, backend.fetches), (round * tokens.len(), 1));
    }
}

#[test]
fn a_cache_forgets_what_was_used_least_recently_and_one_of_no_size_all() {
    let mut server = Server::new(&[&RSA]);
    let claims = Arc::new(server.verify(Token::new(&RSA).text()).unwrap());
    let token = Remembered { claims, unrevoked_at: 0 };
    let knows = |cache: &mut TokenCache, digest, keys: &mut Served| cache.recall(digest, keys, NOW).unwrap().is_some();
    let keys = &mut server.keys;
    let mut cache = TokenCache::new(2);
    let [a, b, c] = [b"a", b"b", b"c"].map(|token| digest(token));
    cache.remember(a, token.clone());
    cache.remember(b, token.clone());
    assert!(knows(&mut cache, &a, keys));
    cache.remember(c, token.clone());
    assert!(knows(&mut cache, &a, keys) && !knows(&mut cache, &b, keys) && knows(&mut cache, &c, keys));
    assert!(!knows(&mut cache, &a, &mut Server::new(&[&RSA]).keys), "other keys are in force");
    assert!(!knows(&mut cache, &a, keys), "and that is not forgotten");
    let mut none = TokenCache::new(0);
    none.remember(a, token);
    assert!(!knows(&mut none, &a, keys));
}

#[test]
fn the_audience_is_checked() {
    let mut server = Server::new(&[&RSA]);
    let token = Token::new(&RSA);
    assert_eq!(server.verify(token.clone().claim("aud", "x").text()).unwrap_err(), Reason::AudienceNotAccepted);
    assert_eq!(server.verify(token.clone().without("aud").text()).unwrap_err(), Reason::AudienceNotAccepted);
    for unset in [None, Some(""), Some(" , ")] {
        let mut server = Server::new(&[&RSA]).set(|settings| settings.audience = unset);
        assert_eq!(server.verify(token.text()).unwrap_err(), Reason::AudienceNotConfigured);
        assert_eq!(server.verify(token.clone().without("aud").text()).unwrap_err(), Reason::AudienceNotConfigured);
    }
    let mut open = Server::new(&[&RSA]).set(|settings| settings.audience = Some("*"));
    open.verify(token.without("aud").text()).unwrap();
}

#[test]
fn an_rsa_key_is_no_secret_for_hs256() {
    let input = Token::new(&RSA).header("alg", "HS256").text();
    let input = &input[..input.rfind('.').unwrap()];
    let forged = format!("{input}.{}", base64url(&hmac_of("HS256", RSA.pem().as_bytes(), input.as_bytes())));
    let mut server = Server::new(&[&RSA]);
    assert_eq!(server.verify(&forged).unwrap_err(), Reason::AlgorithmNotAllowed);
    let mut server = server.set(|settings| settings.allowed_algorithms = "HS256, RS256");
    assert_eq!(server.verify(&forged).unwrap_err(), Reason::KeyUnknown);
}

#[test]
fn a_key_that_does_not_match_lets_the_next_one_try() {
    let named = |signer: &Signer| {
        let mut jwk = signer.jwk();
        jwk["kid"] = json!("shared");
        jwk
    };
    let mut server = Server::with_keys(key_set_of(&[named(&P256), named(&RSA_OTHER), named(&RSA)]));
    server.verify(Token::new(&RSA).header("kid", "shared").text()).unwrap();
    server.verify(Token::new(&P256).header("kid", "shared").text()).unwrap();
    assert_eq!(
        server.verify(Token::new(&P256_OTHER).header("kid", "shared").text()).unwrap_err(),
        Reason::SignatureInvalid
    );
}

#[test]
fn a_sub_that_is_no_uuid_is_read_as_text_and_as_no_uuid() {
    for (sub, is_uuid) in [
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", true),
        ("user_2abcDEF", false),
        ("auth0|5f7c8ec7c33c6c004bbafe82", false),
        ("é😀", false),
        ("6ba7b8109dad11d180b400c04fd430c8", true),
        ("6ba7b810-9dad-11d1-80b4", false),
    ] {
        let claims = Server::new(&[&RSA]).verify(Token::new(&RSA).claim("sub", sub).text()).unwrap();
        assert_eq!(claims.text("sub"), Some(sub));
        assert_eq!(uuid(sub).is_some(), is_uuid, "{sub}");
    }
    let anonymous = Server::new(&[&RSA]).verify(Token::new(&RSA).without("sub").text()).unwrap();
    assert_eq!(anonymous.provider().user(&anonymous), None);
}

#[test]
fn the_token_is_in_no_log_and_no_error() {
    let token = Token::new(&RSA).text();
    let statement = format!("SELECT auth.jwt_session_init('{token}'), 1");
    let mut logged = statement.into_bytes();
    let length = redact(&mut logged);
    logged.truncate(length);
    let logged = String::from_utf8(logged).unwrap();
    assert_eq!(logged, "SELECT auth.jwt_session_init('<JWT>'), 1");
    let rejection = verify(
        token.replace('.', "..").as_bytes(),
        &Server::new(&[&RSA]).providers(),
        &mut Server::new(&[&RSA]).keys,
        NOW,
    )
    .unwrap_err();
    for printed in [rejection.to_string(), format!("{rejection:?}")] {
        assert!(token.split('.').all(|part| !printed.contains(part)), "{printed}");
    }
}
