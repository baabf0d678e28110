//! Settings that must fit each other: several plain issuers share no keys.

use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::trust_settings::TrustSettings;

use super::snapshot::nonempty;
use super::table::TABLE;

/// Refuses, from now on, a SET by which several issuers would share keys. What a configuration file or ALTER DATABASE says
/// is refused with the tokens: it is not known there what the other settings will be.
pub fn watch() {
    TABLE.issuer.fit(|issuer| check(issuer, &TABLE.jwks_uri.text(), &TABLE.jwks.text()));
    TABLE.jwks_uri.fit(|uri| check(&TABLE.issuer.text(), uri, &TABLE.jwks.text()));
    TABLE.jwks.fit(|jwks| check(&TABLE.issuer.text(), &TABLE.jwks_uri.text(), jwks));
}

fn check(issuer: &str, jwks_uri: &str, jwks: &str) -> Result<(), [String; 2]> {
    let providers = TABLE.providers.text();
    let settings = TrustSettings {
        issuer: nonempty(issuer),
        jwks_uri: nonempty(jwks_uri),
        jwks: nonempty(jwks),
        providers: nonempty(&providers),
        ..TrustSettings::DEFAULT
    };
    Providers::check_sharing(&settings)
        .map_err(|problem| [problem, "Give each issuer its keys in pg_jwks.providers.".into()])
}
