//! The examples of the RFCs.

mod common;

use common::{Server, key_set_of, only_failure};
use pg_jwks_core::jose::algorithm::Algorithm;
use pg_jwks_core::jose::jwks::{Candidates, KeyName, KeySet, Trust};
use pg_jwks_core::rejection::{Check, Reason};
use pg_jwks_core::time::Timestamp;
use serde_json::{Value, json};

/// RFC 7515 appendix A.1 and RFC 7519 §3.1.
const HS256: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// RFC 7515 appendix A.2.
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t\
    1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j\
    zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
    Ge77Rw";

/// RFC 7515 appendix A.3.
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 7515 appendix A.4, whose payload is not JSON.
const ES512: &str = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.\
    AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZC\
    PEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";

/// RFC 7515 appendix A.5 and RFC 7519 §6.1.
const NONE: &str = "eyJhbGciOiJub25lIn0.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";

/// RFC 8037 appendix A.4, whose payload is not JSON.
const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
    hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// The `exp` of the examples in RFC 7515.
const EXPIRY: i64 = 1_300_819_380;

fn hs256_key() -> Value {
    json!({"kty": "oct",
           "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"})
}

fn rs256_key() -> Value {
    json!({"kty": "RSA", "e": "AQAB",
           "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-S\
                 Fd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-U\
                 To7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2eth\
                 FkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"})
}

fn es256_key() -> Value {
    json!({"kty": "EC", "crv": "P-256",
           "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

/// RFC 8037 appendix A.2.
fn ed25519_key() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

/// A server of the examples' issuer, one second before their expiry, that checks no audience: they have none.
fn server(key: Value) -> Server {
    let mut server = Server::with_keys(key_set_of(&[key])).set(|settings| {
        settings.issuer = Some("joe");
        settings.audience = Some("*");
        settings.allowed_algorithms = "HS256, RS256, ES256, ES384, EdDSA";
    });
    server.now = Timestamp::from_seconds(EXPIRY - 1);
    server
}

#[test]
fn the_examples_of_rfc_7515_are_accepted_until_they_expire() {
    for (token, key) in [(HS256, hs256_key()), (RS256, rs256_key()), (ES256, es256_key())] {
        let mut server = server(key);
        let claims = server.verify(token).unwrap();
        assert_eq!(claims.expires(), Timestamp::from_seconds(EXPIRY));
        assert_eq!(claims.claim("http://example.com/is_root"), Some(&json!(true)));
        server.now = Timestamp::from_seconds(EXPIRY);
        assert_eq!(server.verify(token).unwrap_err(), Reason::Expired);
        assert_eq!(only_failure(&server.explain(token)), Some(Check::Expiry));
        server.settings.audience = None;
        assert_eq!(server.verify(token).unwrap_err(), Reason::Expired);
    }
}

#[test]
fn the_examples_do_not_verify_with_each_others_keys() {
    for (token, key) in [(HS256, rs256_key()), (RS256, es256_key()), (ES256, hs256_key())] {
        assert_eq!(server(key).verify(token).unwrap_err(), Reason::KeyUnknown);
    }
    let mut other = rs256_key();
    other["n"] = json!(other["n"].as_str().unwrap().replacen("ofgW", "0fgW", 1));
    assert_eq!(server(other).verify(RS256).unwrap_err(), Reason::SignatureInvalid);
}

/// The payload is the text "Payload".
#[test]
fn rfc_7515_a_4_the_signature_of_es512_speaks_for_itself() {
    let key = json!({"kty": "EC", "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"});
    let findings = server(key.clone()).set(|settings| settings.allowed_algorithms = "ES512").explain(ES512);
    let outcome = |check| findings.iter().find(|finding| finding.check == check).unwrap().ok;
    assert_eq!(outcome(Check::Signature), Some(true));
    assert_eq!(only_failure(&findings), Some(Check::Claims));
    assert_eq!(server(key).verify(ES512).unwrap_err(), Reason::AlgorithmNotAllowed);
}

#[test]
fn rfc_7515_a_5_and_rfc_7519_6_1_unsecured_tokens_are_refused_with_any_keys() {
    for key in [hs256_key(), rs256_key(), es256_key(), ed25519_key()] {
        assert_eq!(server(key).verify(NONE).unwrap_err(), Reason::AlgorithmNotAllowed);
    }
}

#[test]
fn rfc_8037_a_4_ed25519_signature_speaks_for_itself_though_the_payload_is_text() {
    let mut server = server(ed25519_key());
    let findings = server.explain(EDDSA);
    let outcome = |check| findings.iter().find(|finding| finding.check == check).unwrap().ok;
    assert_eq!(outcome(Check::Signature), Some(true));
    assert_eq!(outcome(Check::Issuer), None);
    assert_eq!(only_failure(&findings), Some(Check::Claims));
    assert_eq!(server.verify(EDDSA).unwrap_err(), Reason::PayloadMalformed);
}

#[test]
fn rfc_7517_a_1_the_signature_key_is_usable_and_the_encryption_key_is_not() {
    let document = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1"},
        {"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
         "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV\
               4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7\
               d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF4\
               4-csFCur-kEgU8awapJzKnqDKgw"}]});
    let set = KeySet::parse(document.to_string().as_bytes(), Trust::Network).unwrap();
    let [rsa] = set.keys() else { panic!("{set:?}") };
    assert_eq!((rsa.kid(), rsa.bits(), rsa.algorithm()), (Some("2011-04-29"), 2048, Some(Algorithm::RS256)));
    let [ec] = set.skipped() else { panic!("{set:?}") };
    assert_eq!((ec.kid.as_deref(), ec.why.as_str()), (Some("1"), "\"use\" is not \"sig\""));
}

#[test]
fn rfc_7517_b_certificates_beside_a_key_are_ignored() {
    let document = json!({"keys": [
        {"kty": "RSA", "use": "sig", "kid": "1b94c", "e": "AQAB", "x5c": ["no certificate at all"],
         "n": "vrjOfz9Ccdgx5nQudyhdoR17V-IubWMeOZCwX_jj0hgAsz2J_pqYW08PLbK_PdiVGKPrqzmDIsLI7sA25VEnHU1uCLNwBuUiCO11_-7dY\
               bsr4iJmG0Qu2j8DsVyT1azpJC_NG84Ty5KKthuCaPod7iI7w0LK9orSMhBEwwZDCxTWq4aYWAchc8t-emd9qOvWtVMDC2BXksRngh6X5b\
               UYLy6AyHKvj-nUy1wgzjYQDwHMTplCoLtU-o-8SNnZ1tmRoGE9uJkBLdh5gFENabWnU5m1ZqZPdwS-qo-meMvVfJb6jJVWRpl2SUtCnYG\
               2C32qvbWbjZ_jBPD5eunqsIo1vQ"}]});
    let set = KeySet::parse(document.to_string().as_bytes(), Trust::Network).unwrap();
    assert!(
        matches!(set.candidates(KeyName::Kid("1b94c"), Algorithm::RS256), Candidates::Named(keys) if keys.len() == 1)
    );
}

#[test]
fn rfc_7517_a_2_private_keys_are_not_used() {
    let key = json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                     "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
                     "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"});
    let error = KeySet::parse(key.to_string().as_bytes(), Trust::Local).unwrap_err();
    assert!(error.contains("private key"), "{error}");
}

#[test]
fn rfc_7517_a_3_shared_secrets_of_128_bits_are_too_short() {
    let document = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": "GawgguFyGrWKav7AX4VKUg"}, hs256_key()]});
    let set = KeySet::parse(document.to_string().as_bytes(), Trust::Local).unwrap();
    assert_eq!((set.keys().len(), set.skipped().len()), (1, 1));
    assert_eq!(set.keys()[0].bits(), 512);
}
