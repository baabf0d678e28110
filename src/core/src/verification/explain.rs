//! Why a token would be accepted or not: the checks of [`crate::verification::verify`], each judged on its own.

use std::sync::Arc;

use crate::claims::ClaimSet;
use crate::jose::algorithm::Algorithm;
use crate::jose::token::Unverified;
use crate::policy::provider::Provider;
use crate::policy::providers::Providers;
use crate::rejection::{Check, Rejection};
use crate::time::Timestamp;
use crate::verification::checks::{CHECKS_OF_CLAIMS, Stated, Typ, names_nobody, payload_rejection};
use crate::verification::verify::Keys;

/// One line of the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// Its outcome; `None` if it could not be reached.
    pub ok: Option<bool>,
    /// What was expected, or why the check could not be reached. If the token passes, what there is to know all the same.
    pub detail: Option<String>,
    /// The detail for those who may not know the values of settings.
    public_detail: Option<String>,
}

impl Finding {
    fn new(check: Check, ok: Option<bool>, detail: Option<String>) -> Self {
        Self { check, ok, public_detail: detail.clone(), detail }
    }

    /// What may be told to those who may not know the values of settings.
    #[must_use]
    pub fn without_settings(self) -> Self {
        Self { detail: self.public_detail.clone(), ..self }
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    fn record<T>(&mut self, check: Check, outcome: Result<T, Rejection>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.0.push(Finding::new(check, Some(true), None));
                Some(value)
            }
            Err(rejection) => {
                let with_hint = |rejection: Rejection| match rejection.hint {
                    Some(hint) => format!("{} {hint}", rejection.detail),
                    None => rejection.detail,
                };
                let public_detail = Some(with_hint(rejection.clone().without_settings()));
                let detail = Some(with_hint(rejection));
                self.0.push(Finding { check, ok: Some(false), detail, public_detail });
                None
            }
        }
    }

    /// Says something of the check recorded last, which has passed.
    fn remark(&mut self, remark: Option<&str>) {
        if let Some(finding) = self.0.last_mut() {
            *finding = Finding::new(finding.check, finding.ok, remark.map(str::to_owned));
        }
    }

    fn unreached(&mut self, checks: &[Check], why: &str) {
        self.0.extend(checks.iter().map(|check| Finding::new(*check, None, Some(why.to_owned()))));
    }
}

/// The checks that the core cannot make: its caller says what becomes of them, for claims that need not be verified.
pub type CallersCheck<'a> = dyn FnMut(Check, &ClaimSet, &Provider) -> Result<(), Rejection> + 'a;

const CALLERS_CHECKS: [Check; 2] = [Check::Revocation, Check::Role];

/// Judges a token: one finding for each of [`Check::ALL`], in that order. The signature is judged even if later checks
/// fail, and even if the payload cannot be read but only one issuer can have signed it.
///
/// The first check that fails is the one for which [`crate::verification::verify::verify`] rejects the token, unless the
/// payload cannot be read: then `verify` looks for no key.
pub fn explain(
    token: &[u8],
    providers: &Providers,
    keys: &mut dyn Keys,
    now: Timestamp,
    callers: &mut CallersCheck,
) -> Vec<Finding> {
    let mut findings = Findings(Vec::with_capacity(Check::ALL.len()));
    let Some(token) = findings.record(Check::Format, Unverified::parse(token)) else {
        findings.unreached(&Check::ALL[1..], "The token is malformed.");
        return findings.0;
    };
    let named = token.provider(providers).map(Arc::as_ref);
    let provider = match (&named, providers.all()) {
        (Ok(provider), _) => Some(*provider),
        (Err(_), [only]) if token.claims.is_err() => Some(only.as_ref()),
        _ => None,
    };
    let algorithm = explain_algorithm(&token, provider, providers, &mut findings);
    explain_issuer(named, &mut findings);
    match (provider, algorithm) {
        (None, _) => findings.unreached(&[Check::Key, Check::Signature], NO_ISSUER),
        (_, None) => findings.unreached(&[Check::Key, Check::Signature], "The algorithm is not allowed."),
        (Some(provider), Some(algorithm)) => {
            explain_signature(token.signing_keys(provider, algorithm, keys), &mut findings);
        }
    }
    explain_claims(&token, provider, now, callers, &mut findings);
    findings.0
}

const NO_ISSUER: &str = "The issuer is not known.";

/// The algorithm, if the provider may use it. Without a provider, one that any provider may use passes.
fn explain_algorithm(
    token: &Unverified,
    provider: Option<&Provider>,
    providers: &Providers,
    findings: &mut Findings,
) -> Option<Algorithm> {
    match provider {
        Some(provider) => findings.record(Check::Algorithm, token.algorithm(provider)),
        None if providers.all().is_empty() => {
            findings.unreached(&[Check::Algorithm], "No issuer is configured.");
            None
        }
        None => {
            findings.record(Check::Algorithm, token.some_algorithm(providers));
            None
        }
    }
}

fn explain_issuer(named: Result<&Provider, Rejection>, findings: &mut Findings) {
    match named {
        Err(rejection) if rejection.reason.check() == Check::Claims => {
            findings.unreached(&[Check::Issuer], "The payload cannot be read, so it names no issuer.");
        }
        named => drop(findings.record(Check::Issuer, named)),
    }
}

fn explain_signature<T>(signed: Result<T, Rejection>, findings: &mut Findings) {
    match signed {
        Err(rejection) if rejection.reason.check() == Check::Key => {
            findings.record::<()>(Check::Key, Err(rejection));
            findings.unreached(&[Check::Signature], "There is no key to check it with.");
        }
        signed => {
            findings.record(Check::Key, Ok(()));
            findings.record(Check::Signature, signed);
        }
    }
}

fn explain_claims(
    token: &Unverified,
    provider: Option<&Provider>,
    now: Timestamp,
    callers: &mut CallersCheck,
    findings: &mut Findings,
) {
    let names = CHECKS_OF_CLAIMS.map(|(name, _)| name);
    let claims = match &token.claims {
        Ok(claims) => claims,
        Err(error) => {
            findings.record::<()>(names[0], Err(payload_rejection(error)));
            findings.unreached(&names[1..], "The payload cannot be read.");
            findings.unreached(&CALLERS_CHECKS, "The payload cannot be read.");
            return;
        }
    };
    let Some(provider) = provider else {
        findings.unreached(&names, NO_ISSUER);
        findings.unreached(&CALLERS_CHECKS, NO_ISSUER);
        return;
    };
    let stated = Stated { claims, typ: Typ::Stated(token.header.typ.as_deref()) };
    for (name, check) in CHECKS_OF_CLAIMS {
        let passed = findings.record(name, check(&stated, provider, now)).is_some();
        if passed && name == Check::Claims {
            findings.remark(names_nobody(claims, provider));
        }
    }
    for check in CALLERS_CHECKS {
        findings.record(check, callers(check, claims, provider));
    }
}
