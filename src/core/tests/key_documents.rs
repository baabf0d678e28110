//! Key documents: which keys of a JWK Set or a PEM file are usable.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::*;
use pg_jwks_core::bounds::{MAX_DOCUMENT_BYTES, MAX_KEYS};
use pg_jwks_core::jose::algorithm::{Algorithm, KeyType};
use pg_jwks_core::jose::jwks::{KeySet, Trust};
use pg_jwks_core::rejection::Reason;
use serde_json::{Value, json};

const NO_KEY: &str = "the PEM block has no supported key";

fn parse(document: &str) -> Result<KeySet, String> {
    KeySet::parse(document.as_bytes(), Trust::Local)
}

/// Why this JWK is skipped; the usable key beside it stays.
fn skipped(jwk: Value) -> String {
    let set = parse(&json!({"keys": [jwk, P256.jwk()]}).to_string()).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!(set.keys()[0].kid(), Some(P256.kid));
    set.skipped()[0].why.clone()
}

fn rsa_of_bits(bits: usize) -> Value {
    let mut n = vec![0xff; bits / 8];
    if !bits.is_multiple_of(8) {
        n.insert(0, (1 << (bits % 8)) - 1);
    }
    json!({"kty": "RSA", "n": base64url(&n), "e": "AQAB"})
}

/// A usable JWK with one member changed.
fn with(signer: &Signer, member: &str, value: impl Into<Value>) -> Value {
    let mut jwk = signer.jwk();
    jwk[member] = value.into();
    jwk
}

#[test]
fn rsa_keys_have_2048_to_8192_bits() {
    for bits in [512, 1024, 2047, 8193, 16384] {
        assert_eq!(skipped(rsa_of_bits(bits)), format!("RSA key of {bits} bits, not 2048 to 8192"));
    }
    for bits in [2048, 2049, 3072, 4096, 8192] {
        assert_eq!(parse(&rsa_of_bits(bits).to_string()).unwrap().keys()[0].bits(), bits);
    }
    // Leading zeros do not make a key longer.
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    assert_eq!(skipped(with(&RSA, "n", base64url(&padded))), "RSA key of 1024 bits, not 2048 to 8192");
    assert_eq!(skipped(with(&RSA, "n", "AA")), "RSA key of 0 bits, not 2048 to 8192");
}

#[test]
fn rsa_numbers_that_make_no_key_are_skipped() {
    for e in [&[0][..], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]] {
        assert_eq!(skipped(with(&RSA, "e", base64url(e))), "RSA exponent out of range", "{e:?}");
    }
    for e in [&[3][..], &[0, 1, 0, 1]] {
        assert_eq!(parse(&with(&RSA, "e", base64url(e)).to_string()).unwrap().keys().len(), 1, "{e:?}");
    }
    let even = [vec![0xff; 255], vec![0xfe]].concat();
    assert_eq!(skipped(with(&RSA, "n", base64url(&even))), "not an RSA public key");
}

#[test]
fn points_lie_on_their_curve() {
    assert_eq!(skipped(with(&P256_OTHER, "x", base64url(&[1; 32]))), "point not on the curve");
    assert_eq!(skipped(with(&P384, "y", base64url(&[1; 48]))), "point not on the curve");
    assert_eq!(skipped(with(&P256_OTHER, "crv", "P-384")), "EC coordinate not of 48 bytes");
    assert_eq!(skipped(with(&P256_OTHER, "x", base64url(&[1; 31]))), "EC coordinate not of 32 bytes");
    assert_eq!(skipped(with(&P256_OTHER, "crv", "secp256k1")), "point not on the curve");
    assert_eq!(skipped(with(&P256_OTHER, "crv", "P-521")), "EC coordinate not of 66 bytes");
    for curve in ["secp256r1", "p-256", "Ed25519", ""] {
        assert_eq!(skipped(with(&P256_OTHER, "crv", curve)), "\"crv\" is not supported");
    }
}

#[test]
fn an_ed25519_key_has_32_bytes() {
    let spki = ED25519.spki();
    for x in [&spki[..], &spki[13..]] {
        assert_eq!(skipped(with(&ED25519, "x", base64url(x))), "not an Ed25519 public key");
    }
    for curve in ["X25519", "P-256"] {
        assert_eq!(skipped(with(&ED25519, "crv", curve)), "\"crv\" is not supported");
    }
    let ed448 = "\"crv\" Ed448 is not supported; of EdDSA, Ed25519 is";
    assert_eq!(skipped(with(&ED25519, "crv", "Ed448")), ed448);
}

#[test]
fn shared_secrets_come_from_the_server_and_are_long() {
    let document = json!({"keys": [OCT.jwk(), P256.jwk()]}).to_string();
    let network = KeySet::parse(document.as_bytes(), Trust::Network).unwrap();
    assert_eq!(network.keys().len(), 1);
    assert_eq!(network.skipped()[0].why, "shared secret from the network");
    assert_eq!(parse(&document).unwrap().keys().len(), 2);
    assert_eq!(skipped(with(&OCT, "k", base64url(&[7; 31]))), "shared secret shorter than 32 bytes");
    for (bytes, fits) in [(32, [true, false, false]), (48, [true, true, false]), (64, [true, true, true])] {
        let set = parse(&with(&OCT, "k", base64url(&vec![7; bytes])).to_string()).unwrap();
        for (algorithm, fits) in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512].into_iter().zip(fits) {
            assert_eq!(set.keys()[0].fits(algorithm), fits, "{bytes} {algorithm:?}");
        }
    }
}

#[test]
fn the_publisher_binds_a_key_to_a_use_and_an_algorithm() {
    for usage in [json!("enc"), json!("SIG"), json!(["sig"])] {
        assert_eq!(skipped(with(&RSA, "use", usage)), "\"use\" is not \"sig\"");
    }
    for operations in [json!(["sign"]), json!("verify"), json!(["Verify"])] {
        assert_eq!(skipped(with(&RSA, "key_ops", operations)), "\"key_ops\" does not have \"verify\"");
    }
    for algorithm in [json!("RSA-OAEP"), json!("none"), json!("Ed448"), json!(["RS256"]), json!("rs256")] {
        assert_eq!(skipped(with(&RSA, "alg", algorithm)), "\"alg\" is not a supported algorithm");
    }
    assert_eq!(skipped(with(&RSA, "alg", "ES256")), "\"alg\" ES256 does not fit the key type");
    assert_eq!(skipped(with(&RSA, "alg", "HS256")), "\"alg\" HS256 does not fit the key type");
    assert_eq!(skipped(with(&OCT, "alg", "RS256")), "\"alg\" RS256 does not fit the key type");
    let mut bound = with(&RSA, "alg", "PS384");
    bound["use"] = json!("sig");
    bound["key_ops"] = json!(["verify", "encrypt"]);
    let set = parse(&bound.to_string()).unwrap();
    let key = &set.keys()[0];
    assert!(key.fits(Algorithm::PS384) && !key.fits(Algorithm::PS256) && !key.fits(Algorithm::RS384));
}

#[test]
fn keys_with_any_private_part_are_skipped() {
    for (signer, members) in
        [(&*RSA, &["d", "p", "q", "dp", "dq", "qi", "oth"][..]), (&P256_OTHER, &["d"]), (&ED25519, &["d"])]
    {
        for member in members {
            for value in [json!("AQAB"), json!([{ "r": "AQAB" }]), json!(7)] {
                assert_eq!(skipped(with(signer, member, value)), "the private key is published with it", "{member}");
            }
        }
    }
}

#[test]
fn members_have_their_types() {
    for (member, bad) in [("n", json!(7)), ("e", json!(65537)), ("n", json!(null)), ("e", json!("")), ("n", json!([]))]
    {
        assert_eq!(skipped(with(&RSA, member, bad)), format!("no \"{member}\""));
    }
    for bad in ["AQ AB", "AQAB\n", "=AQAB", "AQ=AB", "AQABé", "AQABA"] {
        assert_eq!(skipped(with(&RSA, "e", bad)), "\"e\" is not base64url", "{bad}");
    }
    for kid in [json!(1), json!({}), json!(["a"])] {
        assert_eq!(skipped(with(&RSA, "kid", kid)), "\"kid\" is not a string");
    }
    for kty in [json!("rsa"), json!("DSA")] {
        assert_eq!(skipped(with(&RSA, "kty", kty)), "\"kty\" is not supported");
    }
    for jwk in [json!({}), json!(null), json!("key"), json!([]), with(&RSA, "kty", 1), with(&RSA, "kty", "")] {
        assert_eq!(skipped(jwk), "no \"kty\"");
    }
}

#[test]
fn documents_without_usable_keys_are_errors() {
    for (document, problem) in [
        ("", "is empty."),
        (" \n", "is empty."),
        ("<!DOCTYPE html><html></html>", "is HTML or XML, not JSON."),
        ("\u{feff}<Error/>", "is HTML or XML, not JSON."),
        ("not found", "is not a JSON object."),
        ("[]", "not a JSON object"),
        ("{}", "no member \"keys\""),
        ("{\"keys\":{}}", "is not an array"),
        ("{\"keys\":[]}", "has no keys"),
        ("{\"keys\":[{}]}", "None of the 1 keys can be used; the first because: no \"kty\"."),
        ("{\"keys\":[1,2]}", "None of the 2 keys"),
        ("{\"keys\":[]} x", "not a JSON object"),
    ] {
        let error = parse(document).unwrap_err();
        assert!(error.contains(problem), "{document}: {error}");
    }
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(parse(&deep).unwrap_err().contains("not a JSON object"));
}

#[test]
fn documents_and_sets_have_bounds() {
    let padded = format!("{}{}", P256.jwk(), " ".repeat(MAX_DOCUMENT_BYTES));
    assert!(parse(&padded).unwrap_err().contains("larger than"));
    assert!(parse(&padded[..MAX_DOCUMENT_BYTES]).is_ok());
    assert_eq!(parse(&P256.pem().repeat(MAX_KEYS)).unwrap().keys().len(), MAX_KEYS);
    // A key beyond the bound must not silently be left out.
    let set = parse(&P256.pem().repeat(MAX_KEYS + 1)).unwrap();
    assert_eq!((set.keys().len(), set.skipped().len()), (MAX_KEYS, 1));
}

#[test]
fn of_too_many_keys_the_newest_stay() {
    let count = MAX_KEYS + 44;
    let key = |number: usize| {
        let mut jwk = P256.jwk();
        jwk["kid"] = format!("k{number}").into();
        // Half of them say how old they are, and the last are the newest.
        if number >= count / 2 {
            jwk["iat"] = number.into();
        }
        jwk
    };
    let document = json!({ "keys": (0..count).map(key).collect::<Vec<_>>() }).to_string();
    let set = parse(&document).unwrap();
    let kids: Vec<_> = set.keys().iter().filter_map(|key| key.kid()).collect();
    assert_eq!((kids.len(), kids[0]), (MAX_KEYS, &*format!("k{}", count - 1)));
    // Of those of unknown age, the first.
    let left_out: Vec<_> = set.skipped().iter().filter_map(|key| key.kid.clone()).collect();
    let expected: Vec<_> = (count / 2 - 44..count / 2).map(|number| format!("k{number}")).collect();
    assert_eq!(left_out, expected);
    assert!(set.skipped().iter().all(|key| key.why.contains("more than 256 usable keys")));
}

#[test]
fn a_single_jwk_is_a_set_of_one() {
    assert_eq!(parse(&RSA.jwk().to_string()).unwrap().keys()[0].kid(), Some(RSA.kid));
}

#[test]
fn pem_files_have_public_keys() {
    for (signer, key_type) in
        [(&*RSA, KeyType::Rsa), (&P256, KeyType::P256), (&P384, KeyType::P384), (&ED25519, KeyType::Ed25519)]
    {
        let set = parse(&signer.pem()).unwrap();
        assert_eq!((set.keys()[0].key_type(), set.keys()[0].kid()), (key_type, None));
        Server::with_keys(set.into()).verify(Token::new(signer).text()).unwrap();
    }
    let set = parse(&pem("RSA PUBLIC KEY", &RSA.pkcs1())).unwrap();
    Server::with_keys(set.into()).verify(Token::new(&RSA).text()).unwrap();
}

#[test]
fn pem_files_may_have_several_blocks_and_text_between_them() {
    let document = format!("\n{}# the key of the tests\n{}\r\n{}", RSA.pem(), P256.pem(), ED25519.pem().trim_end());
    for document in [document.replace('\n', "\r\n"), document] {
        let mut server = Server::with_keys(parse(&document).unwrap().into());
        for signer in [&*RSA, &P256, &ED25519] {
            server.verify(Token::new(signer).text()).unwrap();
        }
    }
}

#[test]
fn pem_blocks_that_are_no_public_keys_are_skipped() {
    let neither = "the PEM block is neither a public key nor a certificate";
    for (block, why) in [
        (pem("PRIVATE KEY", &RSA.spki()), neither),
        (pem("RSA PRIVATE KEY", &RSA.pkcs1()), neither),
        (pem("EC PRIVATE KEY", &P256.spki()), neither),
        (pem("CERTIFICATE", &RSA.spki()), NO_KEY),
        (pem("CERTIFICATE", &[]), NO_KEY),
        (pem("CERTIFICATE REQUEST", &RSA.certificate()), neither),
        (pem("PUBLIC KEY", &RSA.certificate()), NO_KEY),
        (pem("PUBLIC KEY", &RSA.pkcs1()), NO_KEY),
        (pem("RSA PUBLIC KEY", &RSA.spki()), NO_KEY),
        (pem("PUBLIC KEY", &[]), NO_KEY),
        (pem("PUBLIC KEY", &[P256.spki(), vec![0]].concat()), NO_KEY),
        (P256.pem().replace("END PUBLIC", "END RSA PUBLIC"), "the PEM block cannot be read"),
        (P256.pem().replacen('M', "!", 1), "the PEM block cannot be read"),
    ] {
        let set = parse(&(block.clone() + &P384.pem())).unwrap();
        assert_eq!((set.keys().len(), set.keys()[0].key_type()), (1, KeyType::P384), "{block}");
        assert_eq!(set.skipped()[0].why, why, "{block}");
    }
    for truncated in ["-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\nMFkw\n", "-----BEGIN -----END "] {
        assert!(parse(truncated).is_err(), "{truncated}");
    }
}

#[test]
fn keys_in_pem_have_one_spelling() {
    let changed = |der: Vec<u8>, from: &[u8], to: &[u8]| {
        let at = der.windows(from.len()).position(|window| window == from).unwrap();
        [&der[..at], to, &der[at + from.len()..]].concat()
    };
    for der in [
        changed(
            ED25519.spki(),
            b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70",
            b"\x30\x2c\x30\x07\x06\x03\x2b\x65\x70\x05\x00",
        ),
        changed(ED25519.spki(), b"\x30\x2a", b"\x30\x81\x2a"),
        changed(ED25519.spki(), b"\x03\x21\x00", b"\x03\x21\x01"),
        changed(RSA.spki(), b"\x01\x01\x01\x05\x00", b"\x01\x01\x01\x04\x00"),
        changed(RSA.spki(), b"\x01\x01\x01\x05\x00", b"\x01\x01\x0a\x05\x00"),
        changed(P256.spki(), b"\x03\x42\x00\x04", b"\x03\x42\x00\x02"),
        changed(P256.spki(), b"\x01\x07\x03", b"\x01\x01\x03"),
        changed(P256.spki(), b"\x02\x01\x06\x08", b"\x02\x02\x06\x08"),
    ] {
        let set = parse(&(pem("PUBLIC KEY", &der) + &P384.pem())).unwrap();
        assert_eq!(set.skipped()[0].why, NO_KEY, "{der:02x?}");
    }
}

#[test]
fn der_that_nests_without_end_does_not_overflow_the_stack() {
    // Each level is a SEQUENCE around all that follows. A recursive parser runs out of stack, and the server dies.
    let mut der = Vec::new();
    while der.len() < MAX_DOCUMENT_BYTES / 2 {
        let length = der.len().to_be_bytes();
        der.splice(0..0, [&[0x30, 0x83], &length[length.len() - 3..]].concat());
    }
    let document = pem("PUBLIC KEY", &der);
    assert!(document.len() <= MAX_DOCUMENT_BYTES);
    assert!(parse(&document).is_err());
}

#[test]
fn what_is_printed_of_a_key_is_not_its_secret() {
    let set = parse(&OCT.jwk().to_string()).unwrap();
    let printed = format!("{set:?}");
    assert!(printed.contains("oct") && !printed.contains("90, 90") && !printed.contains("WlpaWlpa"), "{printed}");
}

/// The curves and names of the algorithms that not every library has.
#[test]
fn every_algorithm_verifies_with_its_own_key_only() {
    let all = "RS256, PS256, ES256, ES384, ES512, ES256K, EdDSA";
    let signers = [&*RSA, &P256, &P384, &P521, &SECP256K1, &ED25519];
    for signer in signers {
        let mut server = Server::new(&signers).set(|settings| settings.allowed_algorithms = all);
        server.verify(Token::new(signer).text()).unwrap();
        for other in signers.into_iter().filter(|other| other.kid != signer.kid) {
            let confused = Token::new(signer).header("kid", other.kid).text();
            assert_eq!(server.verify(&confused).unwrap_err(), Reason::KeyUnknown, "{} {}", signer.kid, other.kid);
        }
    }
    // RFC 9864 §2.2: the other name of the one curve, in tokens and in keys.
    let mut server = Server::new(&[&ED25519]);
    server.verify(Token::new(&ED25519).header("alg", "Ed25519").text()).unwrap();
    let key = parse(&with(&ED25519, "alg", "Ed25519").to_string()).unwrap();
    assert!(key.keys()[0].fits(Algorithm::EdDSA));
    // Listed by nobody.
    let mut server = Server::new(&[&SECP256K1]);
    assert_eq!(server.verify(Token::new(&SECP256K1).text()).unwrap_err(), Reason::AlgorithmNotAllowed);
}

#[test]
fn members_that_say_nothing_are_absent() {
    for (member, nothing) in [
        ("use", json!(null)),
        ("use", json!("")),
        ("key_ops", json!([])),
        ("key_ops", json!(null)),
        ("alg", json!(null)),
        ("kid", json!(null)),
        ("d", json!(null)),
        ("d", json!("")),
        ("oth", json!([])),
        ("x5c", json!([])),
    ] {
        assert_eq!(parse(&with(&RSA, member, nothing).to_string()).unwrap().keys().len(), 1, "{member}");
    }
    assert_eq!(parse(&with(&RSA, "kid", "").to_string()).unwrap().keys()[0].kid(), None);
}

#[test]
fn public_numbers_may_be_padded_or_in_standard_base64() {
    for signer in [&*RSA, &P256, &P521, &ED25519] {
        let mut jwk = signer.jwk();
        for member in ["n", "e", "x", "y"] {
            if let Some(text) = jwk[member].as_str() {
                let standard = text.replace('-', "+").replace('_', "/");
                let padding = "=".repeat((4 - standard.len() % 4) % 4);
                jwk[member] = json!(standard + &padding);
            }
        }
        let digest = |jwk: &Value| *parse(&jwk.to_string()).unwrap().keys()[0].digest();
        assert_eq!(digest(&jwk), digest(&signer.jwk()));
    }
    // A secret is what its text says, and nothing else.
    assert_eq!(skipped(with(&OCT, "k", base64url(&[0xFB; 33]) + "=")), "\"k\" is not base64url");
}

#[test]
fn certificates_give_their_keys_whatever_their_dates() {
    for signer in [&*RSA, &P256, &P384, &ED25519] {
        let certificate = signer.certificate();
        let own = *parse(&signer.jwk().to_string()).unwrap().keys()[0].digest();
        let chain = json!([STANDARD.encode(&certificate), "the rest does not matter"]);
        let jwk = json!({ "kty": signer.jwk()["kty"], "kid": "a", "x5c": chain });
        let map = json!({ "a": pem("CERTIFICATE", &certificate), "b": pem("CERTIFICATE", &P256_OTHER.certificate()) });
        for document in [jwk.to_string(), map.to_string(), pem("CERTIFICATE", &certificate)] {
            let set = parse(&document).unwrap();
            assert_eq!(*set.keys()[0].digest(), own, "{document}");
            assert!(set.keys()[0].has_thumbprint(&sha256(&certificate)), "{document}");
        }
        assert_eq!(parse(&map.to_string()).unwrap().keys()[1].kid(), Some("b"));
    }
    for (chain, why) in [
        (json!(["!"]), "\"x5c\" is not a list of base64"),
        (json!([7]), "\"x5c\" is not a list of base64"),
        (json!([STANDARD.encode(RSA.spki())]), "the certificate of \"x5c\" has no supported key"),
    ] {
        assert_eq!(skipped(json!({ "kty": "RSA", "x5c": chain })), why);
    }
    // Where there are numbers, they are the key.
    let both = with(&P256_OTHER, "x5c", json!([STANDARD.encode(RSA.certificate())]));
    assert_eq!(parse(&both.to_string()).unwrap().keys()[0].key_type(), KeyType::P256);
    let broken = json!({ "a": pem("CERTIFICATE", &RSA.spki()), "b": pem("CERTIFICATE", &RSA.certificate()) });
    let set = parse(&broken.to_string()).unwrap();
    assert_eq!((set.keys().len(), set.skipped()[0].kid.as_deref()), (1, Some("a")));
}

fn sha256(certificate: &[u8]) -> String {
    base64url(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref())
}

fn sha1(certificate: &[u8]) -> String {
    base64url(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref())
}

/// RFC 7515 §4.1.7 and §4.1.8: without a `kid`, a token can name its key by the certificate.
#[test]
fn tokens_name_keys_by_the_thumbprints_of_certificates() {
    let (first, second) = (RSA.certificate(), RSA_OTHER.certificate());
    let in_members = json!({ "keys": [
        { "kty": "RSA", "n": RSA.jwk()["n"], "e": "AQAB", "x5t": sha1(&first), "x5t#S256": sha256(&first) },
        { "kty": "RSA", "n": RSA_OTHER.jwk()["n"], "e": "AQAB", "x5t": sha1(&second), "x5t#S256": sha256(&second) },
    ] });
    let in_chains = json!({ "keys": [
        { "kty": "RSA", "x5c": [STANDARD.encode(&first)] }, { "kty": "RSA", "x5c": [STANDARD.encode(&second)] },
    ] });
    for document in [in_members, in_chains] {
        let mut server = Server::with_keys(key_set_of(document["keys"].as_array().unwrap()));
        for (signer, certificate) in [(&*RSA, &first), (&*RSA_OTHER, &second)] {
            for (name, thumbprint) in [("x5t", sha1(certificate)), ("x5t#S256", sha256(certificate))] {
                let token = Token::new(signer).without_header("kid").header(name, thumbprint);
                server.verify(token.text()).unwrap();
            }
        }
        let misnamed = Token::new(&RSA).without_header("kid").header("x5t", sha1(&second));
        assert_eq!(server.verify(misnamed.text()).unwrap_err(), Reason::SignatureInvalid);
        let unknown = Token::new(&RSA).without_header("kid").header("x5t#S256", sha256(b"another"));
        assert_eq!(server.verify(unknown.text()).unwrap_err(), Reason::KeyUnknown);
        let no_text = Token::new(&RSA).without_header("kid").header("x5t", 7);
        assert_eq!(server.verify(no_text.text()).unwrap_err(), Reason::HeaderMalformed);
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
    let document = json!({ "keys": [P256.jwk()] }).to_string();
    parse(&format!("\u{feff}{document}")).unwrap();
    parse(&format!("\u{feff}{}", P256.pem())).unwrap();
    let utf16 = |big_endian: bool, mark: bool| {
        let units = mark.then_some(0xFEFF).into_iter().chain(document.encode_utf16());
        units.flat_map(|unit| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect::<Vec<_>>()
    };
    for (big_endian, mark) in [(true, true), (true, false), (false, true), (false, false)] {
        let error = KeySet::parse(&utf16(big_endian, mark), Trust::Network).unwrap_err();
        assert_eq!(error, "The key document is in UTF-16, not in UTF-8.");
    }
    let error = KeySet::parse(&[0x1F, 0x8B, 8, 0, 0, 0], Trust::Network).unwrap_err();
    assert_eq!(error, "The key document is compressed with gzip.");
}
