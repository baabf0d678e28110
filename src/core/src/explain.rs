//! Why a token would be accepted or not: the checks of [`crate::verify`], each judged on its own.

use crate::claims::ClaimSet;
use crate::policy::Provider;
use crate::providers::Providers;
use crate::rejection::{Check, Rejection};
use crate::time::Timestamp;
use crate::token::Unverified;
use crate::verify::{
    Keys, check_audience, check_claims, check_expiry, check_not_before, check_scope, check_type, payload_rejection,
};

/// One line of the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// Its outcome; `None` where it could not be reached.
    pub ok: Option<bool>,
    /// What was expected, or why the check could not be reached; nothing where all is well.
    pub detail: Option<String>,
}

struct Findings(Vec<Finding>);

impl Findings {
    fn record<T>(&mut self, check: Check, outcome: Result<T, Rejection>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.0.push(Finding { check, ok: Some(true), detail: None });
                Some(value)
            }
            Err(rejection) => {
                let hint = rejection.hint.map_or(String::new(), |hint| format!(" {hint}"));
                self.0.push(Finding { check, ok: Some(false), detail: Some(rejection.detail + &hint) });
                None
            }
        }
    }

    fn unreached(&mut self, checks: &[Check], why: &str) {
        self.0.extend(checks.iter().map(|check| Finding { check: *check, ok: None, detail: Some(why.to_owned()) }));
    }
}

/// Judges a token: one finding for each of [`Check::ALL`], in that order. The signature is judged also where the
/// payload is none or later checks fail.
pub fn explain(token: &[u8], providers: &Providers, keys: &mut dyn Keys, now: Timestamp) -> Vec<Finding> {
    let mut findings = Findings(Vec::with_capacity(Check::ALL.len()));
    let Some(token) = findings.record(Check::Format, Unverified::parse(token)) else {
        findings.unreached(&Check::ALL[1..], "The token is malformed.");
        return findings.0;
    };
    let named = token.provider(providers);
    // A payload that names no issuer can still be signed by the only one there is.
    let provider = match (&named, providers.all()) {
        (Ok(provider), _) => Some(*provider),
        (Err(_), [only]) if token.members.is_err() => Some(only),
        _ => None,
    };
    let Some(provider) = provider else {
        explain_without_provider(&token, named, providers, &mut findings);
        return findings.0;
    };
    let algorithm = findings.record(Check::Algorithm, token.algorithm(provider));
    match token.members.is_err() {
        true => findings.unreached(&[Check::Issuer], "The payload names no issuer."),
        false => drop(findings.record(Check::Issuer, named)),
    }
    match algorithm {
        None => findings.unreached(&[Check::Key, Check::Signature], "The algorithm is not allowed."),
        Some(algorithm) => {
            let set = keys.current(provider).and_then(|set| match token.misses(&set, algorithm) {
                true => Ok(keys.newer(provider)?.unwrap_or(set)),
                false => Ok(set),
            });
            let known = set.and_then(|set| token.keys(&set, algorithm).map(drop).map(|()| set));
            match findings.record(Check::Key, known) {
                None => findings.unreached(&[Check::Signature], "There is no key to check it with."),
                Some(set) => drop(findings.record(Check::Signature, token.signed(&set, algorithm))),
            }
        }
    }
    explain_claims(&token, provider, now, &mut findings);
    findings.0
}

fn explain_without_provider(
    token: &Unverified,
    named: Result<&Provider, Rejection>,
    providers: &Providers,
    findings: &mut Findings,
) {
    // Without an issuer there is no list of its own to compare with: the token must please at least one.
    let algorithms: Vec<_> = providers.all().iter().map(|provider| token.algorithm(provider)).collect();
    match algorithms.into_iter().reduce(|one, other| one.or(other)) {
        Some(outcome) => drop(findings.record(Check::Algorithm, outcome)),
        None => findings.unreached(&[Check::Algorithm], "No issuer is configured."),
    }
    findings.record(Check::Issuer, named);
    findings.unreached(&Check::ALL[3..], "The issuer is not accepted.");
}

fn explain_claims(token: &Unverified, provider: &Provider, now: Timestamp, findings: &mut Findings) {
    let set = token.members.as_ref().map_err(payload_rejection).map(|members| ClaimSet::new(members.clone()));
    let judged = set.as_ref().map_err(Clone::clone).and_then(check_claims);
    findings.record(Check::Claims, judged);
    let Ok(set) = set else {
        findings.unreached(&Check::ALL[6..], "The payload has no claims.");
        return;
    };
    findings.record(Check::Expiry, check_expiry(&set, provider, now));
    findings.record(Check::NotBefore, check_not_before(&set, provider, now));
    findings.record(Check::Audience, check_audience(&set, provider));
    findings.record(Check::Scope, check_scope(&set, provider));
    findings.record(Check::Type, check_type(token.header.typ.as_deref(), provider));
}
