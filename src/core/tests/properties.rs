//! What holds for any input.

mod common;

use std::sync::LazyLock;

use common::*;
use pg_jwks_core::cache::http_caching;
use pg_jwks_core::claims::{ClaimPath, ClaimSet, RestoredClaims};
use pg_jwks_core::jose::algorithm::Algorithms;
use pg_jwks_core::jose::jwks::{Candidates, KeyName, KeySet, Trust};
use pg_jwks_core::policy::claim_settings;
use pg_jwks_core::policy::membership_table::MembershipTable;
use pg_jwks_core::policy::provider::{Audience, Source};
use pg_jwks_core::policy::providers::Providers;
use pg_jwks_core::policy::role_map::RoleMap;
use pg_jwks_core::rejection::Check;
use pg_jwks_core::verification::explain::explain;
use pg_jwks_core::verification::verify::verify;
use pg_jwks_core::{discovery, json, redaction};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

static ALL: LazyLock<[&'static Signer; 5]> = LazyLock::new(|| [&RSA, &P256, &P384, &ED25519, &OCT]);
static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| ALL.iter().map(|signer| Token::new(signer).text()).collect());
static SERVER: LazyLock<(Server, Providers)> = LazyLock::new(|| {
    let server = Server::new(&*ALL).set(|settings| {
        settings.allowed_algorithms = "HS256, RS256, PS256, ES256, ES384, EdDSA";
    });
    let providers = server.providers();
    (server, providers)
});

fn accepted(token: &[u8]) -> bool {
    let (server, providers) = &*SERVER;
    verify(token, providers, &mut server.keys.clone(), NOW).is_ok()
}

/// Text that is close to something that has a meaning.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"keys\"",
        "\"kty\"",
        "\"RSA\"",
        "\"EC\"",
        "\"OKP\"",
        "\"oct\"",
        "\"n\"",
        "\"e\"",
        "\"x\"",
        "\"y\"",
        "\"k\"",
        "\"crv\"",
        "\"P-256\"",
        "\"Ed25519\"",
        "\"AQAB\"",
        "\"kid\"",
        "\"use\"",
        "\"sig\"",
        "null",
        "1e999",
        "-0",
        "1.5",
        "\\u0000",
        "\\ud800",
        "é",
        "\u{0}",
        " ",
        "\"issuer\"",
        "\"jwks_uri\"",
        "-----BEGIN PUBLIC KEY-----",
        "-----END PUBLIC KEY-----",
        "-----BEGIN ",
        "-----END ",
        "MFkw",
        "\n",
    ]);
    let near = prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![3 => near, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

#[test]
fn the_unchanged_tokens_are_accepted() {
    assert!(TOKENS.iter().all(|token| accepted(token.as_bytes())));
}

#[test]
fn no_single_byte_of_a_token_can_be_another() {
    // The two with the shortest signatures; the property below takes samples of all.
    for token in [&TOKENS[1], &TOKENS[3]] {
        let mut bytes = token.as_bytes().to_vec();
        for at in 0..bytes.len() {
            let own = bytes[at];
            for other in (0..=255).filter(|other| *other != own) {
                bytes[at] = other;
                assert!(!accepted(&bytes), "{token} with {other} at {at}");
            }
            bytes[at] = own;
        }
    }
}

#[test]
fn parts_of_different_tokens_do_not_fit_together() {
    let parts: Vec<Vec<_>> = TOKENS.iter().map(|token| token.split('.').collect()).collect();
    for (a, header) in parts.iter().enumerate() {
        for (b, payload) in parts.iter().enumerate() {
            for (c, signature) in parts.iter().enumerate() {
                let token = [header[0], payload[1], signature[2]].join(".");
                // The payloads are equal, so it is the header and the signature that must belong together.
                assert_eq!(accepted(token.as_bytes()), a == c, "{a} {b} {c}");
            }
        }
    }
    let later = Token::new(&RSA).claim("exp", 1_800_000_000).text();
    let later: Vec<_> = later.split('.').collect();
    assert!(!accepted([parts[0][0], later[1], parts[0][2]].join(".").as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_mutation_of_a_token_is_accepted(
        which in 0..5_usize,
        edits in prop::collection::vec((0..4_usize, any::<Index>(), any::<u8>()), 1..4),
    ) {
        let original = TOKENS[which].as_bytes();
        let mut bytes = original.to_vec();
        for (kind, at, byte) in edits {
            let index = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match kind {
                _ if bytes.is_empty() => bytes.push(byte),
                0 => bytes[index] = byte,
                1 => drop(bytes.remove(index)),
                2 => bytes.insert(index, byte),
                _ => bytes.truncate(index),
            }
        }
        prop_assert_eq!(accepted(&bytes), bytes == original);
    }

    #[test]
    fn any_bytes_are_explained_in_all_rows(token in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[A-Za-z0-9_.=-]{0,200}".prop_map(String::into_bytes),
        (nearly_json(), nearly_json()).prop_map(|(header, payload)| {
            format!("{}.{}.c2ln", base64url(&header), base64url(&payload)).into_bytes()
        }),
    ]) {
        let (server, providers) = &*SERVER;
        let findings = explain(&token, providers, &mut server.keys.clone(), NOW, &mut |_, _, _| Ok(()));
        prop_assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), Check::ALL);
        prop_assert!(findings.iter().any(|finding| finding.ok == Some(false)));
        prop_assert!(!accepted(&token));
    }

    #[test]
    fn parsers_do_not_panic(text in nearly_json()) {
        for trust in [Trust::Local, Trust::Network] {
            if let Ok(set) = KeySet::parse(&text, trust) {
                prop_assert!(!set.keys().is_empty());
            }
        }
        let _ = json::unique_object(&text);
        let _ = discovery::jwks_uri(&text, "https://issuer.example");
        let length = redaction::redact(&mut text.clone());
        prop_assert_eq!(length < text.len(), redaction::has_token(&text));
        let text = String::from_utf8_lossy(&text);
        let _ = (Providers::check(&text), ClaimPath::parse(&text), ClaimSet::parse(&text));
        let _ = (Algorithms::parse(&text), Audience::parse(&text), Source::parse_uri(&text), Source::parse_inline(&text));
        let _ = http_caching::max_age(&text);
    }

    #[test]
    fn key_sets_keep_what_they_are_given(
        chosen in prop::collection::vec((0..5_usize, "[a-z]{1,3}|\\PC{1,8}", any::<bool>()), 1..8),
        extra in "[a-z_]{1,6}",
        junk in prop::collection::vec(select(vec![json!(1), json!({}), json!({"kty": "RSA"}), json!("x")]), 0..3),
    ) {
        let mut jwks: Vec<Value> = chosen.iter().map(|(which, kid, bound)| {
            let mut jwk = ALL[*which].jwk();
            jwk["kid"] = json!(kid);
            jwk[format!("ext_{extra}")] = json!([{"a": 1}]);
            if *bound {
                jwk["use"] = json!("sig");
                jwk["alg"] = json!(ALL[*which].algorithms()[0]);
            }
            jwk
        }).collect();
        jwks.splice(1..1, junk.iter().cloned());
        let set = KeySet::parse(json!({"keys": jwks}).to_string().as_bytes(), Trust::Local).unwrap();
        prop_assert_eq!(set.skipped().len(), junk.len());
        prop_assert_eq!(set.keys().len(), chosen.len());
        for ((which, kid, bound), key) in chosen.iter().zip(set.keys()) {
            let algorithm = ALL[*which].algorithms()[0].parse().unwrap();
            prop_assert_eq!(key.kid(), Some(kid.as_str()));
            prop_assert_eq!(key.algorithm(), bound.then_some(algorithm));
            prop_assert!(key.fits(algorithm));
            let Candidates::Named(keys) = set.candidates(KeyName::Kid(kid), algorithm) else { panic!("{kid} is not found") };
            prop_assert!(keys.iter().all(|key| key.kid() == Some(kid) && key.fits(algorithm)));
        }
    }

    #[test]
    fn claims_survive_the_way_to_parallel_workers(
        names in prop::collection::btree_map("\\PC{1,10}", "\\PC{0,20}", 0..6),
    ) {
        let mut token = Token::new(&ED25519);
        for (name, value) in &names {
            token = token.claim(&format!("x-{name}"), value.as_str());
        }
        let (server, providers) = &*SERVER;
        let claims = verify(token.text().as_bytes(), providers, &mut server.keys.clone(), NOW).unwrap();
        prop_assert!(claims.json().is_ascii());
        let read = RestoredClaims::from_guarded_setting(claims.json());
        prop_assert_eq!(read.as_deref(), Some(&*claims));
        for (name, value) in &names {
            prop_assert_eq!(claims.text(&format!("x-{name}")), Some(value.as_str()));
        }
    }

    #[test]
    fn any_quoted_names_are_a_membership_table(names in prop::array::uniform4("\\PC{1,20}"), space in "[ \t\n]{0,2}") {
        let quoted = names.clone().map(|name| format!("{space}\"{}\"{space}", name.replace('"', "\"\"")));
        let [schema, table, user, tenant] = &quoted;
        let parsed = MembershipTable::parse(&format!("{schema}.{table}({user},{tenant}){space}")).unwrap();
        prop_assert_eq!([parsed.schema, parsed.table, parsed.user_column, parsed.tenant_column], names);
    }

    #[test]
    fn a_role_map_gives_no_role_that_it_does_not_name(text in "[ab=, ]{0,12}", claimed in "[ab]{1,2}") {
        if let Ok(map) = RoleMap::parse(&text) {
            for role in map.roles(&[claimed.as_str()]) {
                let named = text.split(',').any(|item| {
                    item.rsplit_once('=').is_some_and(|(from, to)| (from.trim(), to.trim()) == (claimed.as_str(), role))
                });
                prop_assert!(named || text.trim_matches([' ', ',']).is_empty(), "{text}: {role}");
            }
        }
    }

    #[test]
    fn variables_have_names_that_postgresql_takes(text in "([a-z_.$=,*\\[\\]\" ]|app\\.x=){0,20}") {
        for variable in claim_settings::parse(&text).unwrap_or_default() {
            let words: Vec<_> = variable.name.split('.').collect();
            prop_assert!(words.len() >= 2 && words.iter().all(|word| !word.is_empty()), "{text}");
            prop_assert!(words.iter().all(|word| !word.starts_with('$') && !word.contains([' ', '=', ','])), "{text}");
        }
    }
}
