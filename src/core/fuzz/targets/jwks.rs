//! Documents and settings: parsers neither panic nor let through what they exist to keep out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::jose::algorithm::KeyType;
use pg_jwks_core::bounds::{MAX_KEYS, MAX_RSA_BITS, MIN_OCT_BYTES, MIN_RSA_BITS};
use pg_jwks_core::claims::ClaimPath;
use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::policy::provider::{Audience, Source};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::cache::http_caching;
use pg_jwks_core::discovery;
use pg_jwks_core::url::is_url;

fuzz_target!(|data: &[u8]| {
    let local = KeySet::parse(data, Trust::Local);
    let network = KeySet::parse(data, Trust::Network);
    if let Ok(set) = &local {
        check(set);
    }
    if let Ok(set) = &network {
        check(set);
        assert!(set.keys().iter().all(|key| key.key_type() != KeyType::Oct));
        assert!(local.is_ok_and(|local| local.keys().len() >= set.keys().len()));
    }
    if let Ok(url) = discovery::jwks_uri(data, "https://issuer.example") {
        assert!(is_url(&url));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Providers::check(text);
    let _ = ClaimPath::parse(text);
    let _ = http_caching::max_age(text);
    if let Ok(Audience::OneOf(names)) = Audience::parse(text) {
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty() && name != "*"));
    }
    if let Ok(Source::Url(url)) = Source::parse_uri(text) {
        assert!(is_url(&url) && url.is_ascii());
    }
});

fn check(set: &KeySet) {
    assert!(!set.keys().is_empty() && set.keys().len() + set.skipped().len() <= MAX_KEYS);
    for key in set.keys() {
        match key.key_type() {
            KeyType::Rsa => assert!((MIN_RSA_BITS..=MAX_RSA_BITS).contains(&key.bits())),
            KeyType::Oct => assert!(key.bits() >= MIN_OCT_BYTES * 8),
            KeyType::P256 | KeyType::Ed25519 => assert_eq!(key.bits(), 256),
            KeyType::P384 => assert_eq!(key.bits(), 384),
        }
        assert!(key.algorithm().is_none_or(|algorithm| key.fits(algorithm) || key.key_type() == KeyType::Oct));
    }
}
