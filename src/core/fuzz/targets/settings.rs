//! Settings: whatever is written into one is refused, or means what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::bounds::MAX_PROVIDERS;
use pg_jwks_core::claims::{ClaimPath, ClaimSet};
use pg_jwks_core::jose::algorithm::Algorithms;
use pg_jwks_core::policy::membership_table::MembershipTable;
use pg_jwks_core::policy::provider::{Audience, Source, check_scopes, scope_list};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::trust_settings::TrustSettings;
use pg_jwks_core::policy::role_map::RoleMap;
use pg_jwks_core::policy::claim_settings;
use pg_jwks_core::url::is_url;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let trusted = Providers::assemble(&TrustSettings { providers: Some(text), ..TrustSettings::DEFAULT });
    assert_eq!(trusted.is_ok(), Providers::check(text).is_ok());
    if let Ok(providers) = trusted {
        assert!(providers.all().len() <= MAX_PROVIDERS);
        for provider in providers.all() {
            assert!(!provider.issuer.as_str().is_empty());
            let found = providers.of_issuer(provider.issuer.as_str()).expect("it is there");
            assert!(std::sync::Arc::ptr_eq(found, provider), "an issuer appears twice");
            if let Source::Url(url) = &provider.source {
                assert!(is_url(url));
            }
        }
    }
    if let Ok(path) = ClaimPath::parse(text) {
        assert!(ClaimSet::parse("{}").expect("an object").at(&path).is_none(), "a path without names");
    }
    if let Ok(Audience::OneOf(names)) = Audience::parse(text) {
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty() && name != "*"));
    }
    if let Ok(Source::Url(url)) = Source::parse_uri(text) {
        assert!(is_url(&url) && url.is_ascii());
    }
    if check_scopes(text).is_ok() {
        assert!(scope_list(text).iter().all(|scope| !scope.is_empty() && !scope.contains('"')));
    }
    if let Ok(algorithms) = Algorithms::parse(text) {
        assert_eq!(Algorithms::parse(&algorithms.to_string()), Ok(algorithms));
    }
    let _ = (MembershipTable::parse(text), RoleMap::parse(text), claim_settings::parse(text));
});
