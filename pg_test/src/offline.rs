//! An issuer without a network: the servers that trust it have its key in `pg_jwks.jwks`.

use std::sync::LazyLock;

use serde_json::Value;

use crate::cluster::Options;
use crate::{Alg, Cluster, SigningKey, claims, claims_with, jwks};

/// The issuer of good tokens.
pub const ISSUER: &str = "https://issuer.test";

/// Its key.
pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::EdDsa, "k1"));

/// A key that nobody published, under the same name.
pub static FORGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::EdDsa, "k1"));

/// The settings of a server that trusts [`ISSUER`], for the audience `app`.
pub fn options() -> Options {
    Cluster::options()
        .setting("pg_jwks.issuer", ISSUER)
        .setting("pg_jwks.audience", "app")
        .setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
}

/// A good token for an hour.
pub fn token(sub: &str) -> String {
    KEY.sign(&claims(ISSUER, sub))
}

/// A good token of alice with more claims, or others.
pub fn token_with(more: &Value) -> String {
    KEY.sign(&claims_with(ISSUER, "alice", more))
}

/// A token signed with another key.
pub fn forged_token(sub: &str) -> String {
    FORGER.sign(&claims(ISSUER, sub))
}
