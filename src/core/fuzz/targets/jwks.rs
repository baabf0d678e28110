//! Key and discovery documents: parsers neither panic nor let through what they exist to keep out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::jose::algorithm::KeyType;
use pg_jwks_core::bounds::{MAX_KEYS, MAX_RSA_BITS, MIN_OCT_BYTES, MIN_RSA_BITS};
use pg_jwks_core::jose::jwks::{KeySet, Trust};
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
});

fn check(set: &KeySet) {
    assert!(!set.keys().is_empty() && set.keys().len() <= MAX_KEYS);
    for key in set.keys() {
        match key.key_type() {
            KeyType::Rsa => assert!((MIN_RSA_BITS..=MAX_RSA_BITS).contains(&key.bits())),
            KeyType::Oct => assert!(key.bits() >= MIN_OCT_BYTES * 8),
            KeyType::P256 | KeyType::Ed25519 => assert_eq!(key.bits(), 256),
            KeyType::P384 => assert_eq!(key.bits(), 384),
            KeyType::P521 => assert_eq!(key.bits(), 521),
            KeyType::Secp256k1 => assert_eq!(key.bits(), 256),
        }
        assert!(key.algorithm().is_none_or(|algorithm| key.fits(algorithm) || key.key_type() == KeyType::Oct));
    }
}
