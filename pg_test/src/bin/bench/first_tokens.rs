//! Tokens that the session has not seen before, beside the bare signature check of the same crypto library.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pg_test::{Alg, SigningKey};
use postgres::Statement;

use crate::charts;
use crate::measure::{ProcessorClock, medians};
use crate::report::{Table, Target, duration, ratio};
use crate::server::Server;

/// Many more than `pg_jwks.token_cache_size`: when a round begins again with the first, it has long been forgotten.
const TOKENS: usize = 2000;
const ROUNDS: usize = 11;

/// What is done with all tokens of a table.
enum Work<'a> {
    /// Checks the signatures, and parses the key each time.
    Signatures(&'a SignedMessages),
    /// The same with the key parsed beforehand.
    SignaturesOfParsedKey(&'a SignedMessages),
    Statement(Statement),
}

/// Verifies tokens of each algorithm.
pub fn run(server: &Server) -> Vec<Target> {
    let mut table = Table::new(
        format!("A first token: processor time of {TOKENS} different ones, each"),
        &[
            "algorithm",
            "bytes",
            "signature check",
            "with parsed key",
            "jwt_session_init",
            "to check",
            "to one with parsed key",
        ],
    );
    let (mut targets, mut bars) = (Vec::new(), Vec::new());
    for key in server.keys() {
        let tokens: Vec<String> = (0..TOKENS).map(|number| key.sign(&server.claims(number))).collect();
        let [check, parsed_check, init] = measure(server, key, &tokens);
        table.line([
            key.alg().name().to_owned(),
            tokens[0].len().to_string(),
            duration(check),
            duration(parsed_check),
            duration(init),
            ratio(init / check),
            ratio(init / parsed_check),
        ]);
        bars.push((format!("{}: the signature alone, with a parsed key", key.alg().name()), parsed_check));
        bars.push((format!("{}: auth.jwt_session_init()", key.alg().name()), init));
        let most = if key.alg() == Alg::Rs256 { 1.30 } else { 1.15 };
        let name = format!("a first {} token, to its signature check with a parsed key", key.alg().name());
        targets.push(Target::new(name, init / parsed_check, most));
    }
    table.print();
    let bars: Vec<_> = bars.iter().map(|(label, time)| (label.as_str(), *time)).collect();
    charts::draw("first-tokens", "A token that the session has not seen before", &bars, duration);
    targets
}

/// The times of one signature check, of one with a parsed key, and of one `jwt_session_init`.
fn measure(server: &Server, key: &SigningKey, tokens: &[String]) -> [f64; 3] {
    let mut client = server.superuser();
    client.batch_execute("CREATE TEMPORARY TABLE token (token text)").expect("a table");
    client.execute("INSERT INTO token SELECT unnest($1::text[])", &[&tokens]).expect("tokens");
    let clock = ProcessorClock::of(&mut client);
    let _shared = clock.share_processor();
    let signed = SignedMessages::new(key, tokens);
    let mut statement =
        |call: &str| Work::Statement(client.prepare(&format!("SELECT count({call}) FROM token")).expect("a good call"));
    let works = [
        Work::Signatures(&signed),
        Work::SignaturesOfParsedKey(&signed),
        statement("auth.jwt_session_init(token)"),
        statement("length(token)"),
    ];
    let [check, parsed_check, init, length] = medians(ROUNDS, works, |work| match work {
        Work::Signatures(signed) => signed.check(|message, signature| signed.key.verify(message, signature)),
        Work::SignaturesOfParsedKey(signed) => {
            signed.check(|message, signature| signed.parsed_key.verify_sig(message, signature))
        }
        Work::Statement(statement) => clock.time(|| {
            client.execute(&*statement, &[]).expect("every token is good");
        }),
    });
    let last: String = client.query_one("SELECT auth.claim('jti')", &[]).expect("an identity").get(0);
    assert_eq!(last, format!("{:032}", TOKENS - 1), "the last token is the identity");
    [check, parsed_check, init - length].map(|time| time / TOKENS as f64)
}

/// The signatures of tokens, decoded, and what they were made over.
struct SignedMessages {
    key: UnparsedPublicKey<Vec<u8>>,
    parsed_key: ParsedPublicKey,
    messages: Vec<(String, Vec<u8>)>,
}

impl SignedMessages {
    fn new(key: &SigningKey, tokens: &[String]) -> Self {
        let algorithm: &'static dyn VerificationAlgorithm = match key.alg() {
            Alg::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Alg::Es256 => &ECDSA_P256_SHA256_FIXED,
            Alg::EdDsa => &ED25519,
            other => unreachable!("{} is not measured", other.name()),
        };
        let pem: String = key.public_pem().lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(pem).expect("PEM");
        let messages = tokens.iter().map(|token| {
            let (message, signature) = token.rsplit_once('.').expect("a signed token");
            (message.to_owned(), URL_SAFE_NO_PAD.decode(signature).expect("base64url"))
        });
        let parsed_key = ParsedPublicKey::new(algorithm, &der).expect("a public key");
        Self { key: UnparsedPublicKey::new(algorithm, der), parsed_key, messages: messages.collect() }
    }

    fn check(&self, verify: impl Fn(&[u8], &[u8]) -> Result<(), Unspecified>) -> Duration {
        ProcessorClock::OWN.time(|| {
            for (message, signature) in &self.messages {
                verify(message.as_bytes(), signature).expect("a good signature");
            }
        })
    }
}
