//! Tokens: whatever is thrown at the core, it accepts what was signed and nothing else, and tells the same story twice.
#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use pg_jwks_core::claims::RestoredClaims;
use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::trust_settings::TrustSettings;
use pg_jwks_core::redaction::has_token;
use pg_jwks_core::rejection::{Check, Reason, Rejection};
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::explain::explain;
use pg_jwks_core::verification::verify::{Keys, verify};

/// The examples of RFC 7515 and RFC 8037: one key of each type.
const KEYS: &[u8] = include_bytes!("../corpus/jwks/rfc-keys");

/// The only tokens that were ever signed with these keys and have the claims that are asked for.
const SIGNED: [&[u8]; 3] = [
    include_bytes!("../corpus/token/rfc7515-a1"),
    include_bytes!("../corpus/token/rfc7515-a2"),
    include_bytes!("../corpus/token/rfc7515-a3"),
];

/// One second before these tokens expire.
const NOW: Timestamp = Timestamp::from_seconds(1_300_819_379);

static SERVER: LazyLock<(Providers, Arc<KeySet>)> = LazyLock::new(|| {
    let settings = TrustSettings {
        issuer: Some("joe"),
        audience: Some("*"),
        allowed_algorithms: "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
        ..TrustSettings::DEFAULT
    };
    let keys = KeySet::parse(KEYS, Trust::Local).expect("the keys of the RFCs are usable");
    (Providers::assemble(&settings).expect("the settings are good"), Arc::new(keys))
});

struct Fixed(Arc<KeySet>);

impl Keys for Fixed {
    fn current(&mut self, _: &Provider) -> Result<Arc<KeySet>, Rejection> {
        Ok(self.0.clone())
    }

    fn newer(&mut self, _: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        Ok(None)
    }
}

fuzz_target!(|data: &[u8]| {
    judge(data);
    // Mutations seldom keep base64url intact, so the same bytes also serve as header and payload in plain.
    if let Some(at) = data.iter().position(|byte| *byte == 0) {
        let [header, payload] = [&data[..at], &data[at + 1..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        judge(format!("{header}.{payload}.c2lnbmVk").as_bytes());
    }
});

fn judge(token: &[u8]) {
    let (providers, keys) = &*SERVER;
    let verified = verify(token, providers, &mut Fixed(keys.clone()), NOW);
    let findings = explain(token, providers, &mut Fixed(keys.clone()), NOW, &mut |_, _, _| Ok(()));
    assert!(findings.iter().map(|finding| finding.check).eq(Check::ALL));
    let first = findings.iter().find(|finding| finding.ok == Some(false)).map(|finding| finding.check);
    match &verified {
        Ok(claims) => {
            assert!(SIGNED.contains(&token), "a forgery");
            assert!(findings.iter().all(|finding| finding.ok == Some(true)));
            assert!(claims.json().is_ascii());
            assert_eq!(RestoredClaims::from_guarded_setting(claims.json()).as_deref(), Some(&**claims));
            assert_eq!(claims.recheck(&mut Fixed(keys.clone()), NOW), Ok(true));
            assert!(has_token(token));
        }
        Err(rejection) => {
            assert!(!SIGNED.contains(&token));
            match rejection.reason {
                Reason::PayloadMalformed | Reason::DuplicateClaim => assert!(first.is_some()),
                reason => assert_eq!(first, Some(reason.check())),
            }
        }
    }
    // No word of a message is as long as this. (Without the filter, the fuzzer sends the messages themselves.)
    let word =
        |part: &&[u8]| part.len() >= 24 && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    for part in token.split(|byte| *byte == b'.').filter(word).filter_map(|part| std::str::from_utf8(part).ok()) {
        let is_told = findings.iter().any(|finding| finding.detail.as_deref().unwrap_or_default().contains(part));
        assert!(!is_told || quotes(token, part));
    }
}

/// Whether a token has a part of itself in its header or payload, whose `alg`, `kid`, `typ`, `iss` and `aud` are told.
fn quotes(token: &[u8], part: &str) -> bool {
    let decoded = token.split(|byte| *byte == b'.').filter_map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    decoded
        .filter_map(|json| serde_json::from_slice::<serde_json::Value>(&json).ok())
        .any(|json| json.to_string().contains(part))
}
