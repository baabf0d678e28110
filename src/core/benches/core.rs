//! What verification costs, beside the bare signature check that no verification can do without.
//!
//! `cargo bench -p pg_jwks_core`. The ratio is to the first line of each block.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519 as RAW_ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{ED25519, NOW, P256, P384, RSA, Server, Signer, Token};
use pg_jwks_core::cache::token_cache::{Remembered, TokenCache};
use pg_jwks_core::digest::digest;
use pg_jwks_core::redaction::{find, redact};
use pg_jwks_core::verification::verify::verify;

const ROUNDS: usize = 51;
const ROUND: Duration = Duration::from_millis(5);

/// A statement that is longer than most.
const LONG: usize = 70 << 20;

type Operation<'a> = (String, Box<dyn FnMut() + 'a>);

/// Prints the median nanoseconds of each operation, and the ratio to the first. Their rounds take turns, so that
/// whatever else the machine does meets all of them alike.
fn compare(mut operations: Vec<Operation>) {
    let mut rounds = vec![Vec::with_capacity(ROUNDS); operations.len()];
    for _ in 0..ROUNDS {
        for ((_, operation), rounds) in operations.iter_mut().zip(&mut rounds) {
            rounds.push(one_round(operation));
        }
    }
    let medians = rounds.iter_mut().map(|rounds| {
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    });
    let medians: Vec<f64> = medians.collect();
    for ((name, _), median) in operations.iter().zip(&medians) {
        println!("{name:<44}{median:>10.0}{:>8.2}", median / medians[0]);
    }
    println!();
}

fn one_round(operation: &mut dyn FnMut()) -> f64 {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < ROUND {
        operation();
        count += 1;
    }
    started.elapsed().as_nanos() as f64 / f64::from(count)
}

fn verification(algorithm: &str, signer: &'static Signer, raw: &'static dyn VerificationAlgorithm) {
    let [token, nameless] = [Token::new(signer).text(), Token::new(signer).without_header("kid").text()];
    let (input, signature) = token.rsplit_once('.').expect("a token has dots");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature is base64url");
    let spki = signer.spki();
    let unparsed = UnparsedPublicKey::new(raw, &spki);
    let parsed = ParsedPublicKey::new(raw, &spki).expect("the key is good");
    let server = Server::new(&[&RSA, &P256, &P384, &ED25519]);
    let providers = server.providers();
    let whole = |token: &str| {
        drop(black_box(
            verify(token.as_bytes(), &providers, &mut server.keys.clone(), NOW).expect("the token is good"),
        ));
    };
    compare(vec![
        (
            format!("{algorithm} bare check, key parsed each time"),
            Box::new(|| unparsed.verify(input.as_bytes(), &signature).expect("the signature is good")),
        ),
        (
            format!("{algorithm} bare check, key parsed before"),
            Box::new(|| parsed.verify_sig(input.as_bytes(), &signature).expect("the signature is good")),
        ),
        (format!("{algorithm} verify"), Box::new(|| whole(&token))),
        (format!("{algorithm} verify without kid"), Box::new(|| whole(&nameless))),
    ]);
}

fn remembered() {
    let token = Token::new(&RSA).text();
    let mut server = Server::new(&[&RSA]);
    let claims = Arc::new(server.verify(&token).expect("the token is good"));
    let mut cache = TokenCache::new(128);
    cache.remember(digest(token.as_bytes()), Remembered { claims, unrevoked_at: 0 });
    compare(vec![
        (format!("digest of {} bytes", token.len()), Box::new(|| _ = black_box(digest(token.as_bytes())))),
        (
            "digest, cache hit and recheck".into(),
            Box::new(|| {
                let claims = cache.recall(&digest(token.as_bytes()), &mut server.keys, NOW).expect("the token is good");
                drop(black_box(claims.expect("the token is remembered")));
            }),
        ),
    ]);
}

/// What is done for each line of the log, with the statement that it is about and with its own fields.
fn logging() {
    let query = "SELECT o.id, o.\"total\", c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id \
        WHERE o.tenant_id = 17 AND c.key = 'view' AND o.total > 12.50 ";
    let token = Token::new(&RSA).text();
    let text = |length: usize, end: &str| {
        let front: String = query.chars().cycle().take(length - end.len()).collect();
        front + end
    };
    let [statement, with_token] = [text(1024, ""), text(1024, &token)];
    let [long, long_base64] = [text(LONG, ""), "abcdefgh".repeat(LONG / 8)];
    let dots = ".".repeat(LONG);
    let hostile = "eyJhbGciO.".repeat(LONG / 10);
    let mut copy = with_token.clone().into_bytes();
    let look = |text: &str| _ = black_box(find(black_box(text.as_bytes())));
    compare(vec![
        ("log: statement of 1 KiB".into(), Box::new(|| look(&statement))),
        ("log: statement of 1 KiB, with a token".into(), Box::new(|| look(&with_token))),
        (
            "log: message of 1 KiB, with a token".into(),
            Box::new(|| {
                copy.copy_from_slice(with_token.as_bytes());
                black_box(redact(black_box(&mut copy)));
            }),
        ),
    ]);
    compare(vec![
        ("log: statement of 70 MiB".into(), Box::new(|| look(&long))),
        ("log: 70 MiB of base64".into(), Box::new(|| look(&long_base64))),
        ("log: 70 MiB of dots".into(), Box::new(|| look(&dots))),
        ("log: 70 MiB of beginnings of headers".into(), Box::new(|| look(&hostile))),
    ]);
}

fn main() {
    println!("{:<44}{:>10}{:>8}", "name", "ns/op", "ratio");
    verification("RS256", &RSA, &RSA_PKCS1_2048_8192_SHA256);
    verification("ES256", &P256, &ECDSA_P256_SHA256_FIXED);
    verification("ES384", &P384, &ECDSA_P384_SHA384_FIXED);
    verification("EdDSA", &ED25519, &RAW_ED25519);
    remembered();
    logging();
}
