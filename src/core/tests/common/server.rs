//! A server: its settings, its keys and its clock.

use std::sync::Arc;

use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::policy::provider::Provider;
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::trust_settings::TrustSettings;
use pg_jwks_core::rejection::{Check, Reason, Rejection};
use pg_jwks_core::time::{Span, Timestamp};
use pg_jwks_core::verification::explain::{Finding, explain};
use pg_jwks_core::verification::verify::{Keys, VerifiedClaims, verify};
use serde_json::{Value, json};

use super::Signer;

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "app";
/// The present, in every test.
pub const NOW: Timestamp = Timestamp::from_seconds(1_750_000_000);

/// A key set with the public halves of these keys.
pub fn key_set(signers: &[&Signer]) -> Arc<KeySet> {
    key_set_of(&signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>())
}

/// A key set with these JWKs, of which at least one must be usable.
pub fn key_set_of(jwks: &[Value]) -> Arc<KeySet> {
    let document = json!({ "keys": jwks }).to_string();
    Arc::new(KeySet::parse(document.as_bytes(), Trust::Local).unwrap())
}

/// Keys as a test wants them served, and how often they were asked for.
#[derive(Clone)]
pub struct Served {
    pub current: Result<Arc<KeySet>, Rejection>,
    pub newer: Result<Option<Arc<KeySet>>, Rejection>,
    pub asked: usize,
    pub fetches: usize,
}

impl Keys for Served {
    fn current(&mut self, _: &Provider) -> Result<Arc<KeySet>, Rejection> {
        self.asked += 1;
        self.current.clone()
    }

    fn newer(&mut self, _: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        self.fetches += 1;
        self.newer.clone()
    }
}

/// A server that trusts [`ISSUER`] for [`AUDIENCE`], without leeway.
#[derive(Clone)]
pub struct Server {
    pub settings: TrustSettings<'static>,
    pub keys: Served,
    pub now: Timestamp,
}

impl Server {
    /// A server with the public halves of these keys.
    pub fn new(signers: &[&Signer]) -> Self {
        Self::with_keys(key_set(signers))
    }

    /// A server with these keys.
    pub fn with_keys(keys: Arc<KeySet>) -> Self {
        let settings = TrustSettings {
            issuer: Some(ISSUER),
            audience: Some(AUDIENCE),
            leeway: Span::ZERO,
            ..TrustSettings::DEFAULT
        };
        Self { settings, keys: Served { current: Ok(keys), newer: Ok(None), asked: 0, fetches: 0 }, now: NOW }
    }

    /// The same with other settings.
    pub fn set(mut self, change: impl FnOnce(&mut TrustSettings<'static>)) -> Self {
        change(&mut self.settings);
        self
    }

    pub fn providers(&self) -> Providers {
        Providers::assemble(&self.settings).unwrap()
    }

    pub fn provider(&self) -> Arc<Provider> {
        self.providers().of_issuer(self.settings.issuer.unwrap()).unwrap().clone()
    }

    /// Verifies a token, and that its explanation tells the same story.
    pub fn verify(&mut self, token: impl AsRef<[u8]>) -> Result<VerifiedClaims, Reason> {
        let token = token.as_ref();
        let findings = self.clone().explain(token);
        let outcome = verify(token, &self.providers(), &mut self.keys, self.now).map_err(|rejection| rejection.reason);
        let first = findings.iter().find(|finding| finding.ok == Some(false)).map(|finding| finding.check);
        match &outcome {
            Ok(_) => assert!(findings.iter().all(|finding| finding.ok == Some(true)), "{findings:?}"),
            // An unreadable payload names no issuer, so only an explanation can go on to its signature.
            Err(Reason::PayloadMalformed | Reason::DuplicateClaim) => assert!(first.is_some()),
            Err(reason) => assert_eq!(first, Some(reason.check()), "{reason:?} {findings:?}"),
        }
        outcome
    }

    pub fn explain(&mut self, token: impl AsRef<[u8]>) -> Vec<Finding> {
        explain(token.as_ref(), &self.providers(), &mut self.keys, self.now, &mut |_, _, _| Ok(()))
    }
}

/// The one check that fails, where exactly one does.
pub fn only_failure(findings: &[Finding]) -> Option<Check> {
    let mut failures = findings.iter().filter(|finding| finding.ok == Some(false)).map(|finding| finding.check);
    failures.next().filter(|_| failures.next().is_none())
}
