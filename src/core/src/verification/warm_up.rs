//! Verifying once before it matters: a process that is forked afterwards finds everything initialised that verification
//! initialises at its first use.

use std::sync::Arc;

use crate::digest::digest;
use crate::jose::jwks::{KeySet, Trust};
use crate::policy::provider::Provider;
use crate::policy::providers::Providers;
use crate::policy::trust_settings::TrustSettings;
use crate::rejection::{Reason, Rejection};
use crate::time::Timestamp;
use crate::verification::verify::{Keys, verify};

/// The keys of RFC 7515 appendices A.2 and A.3, and of RFC 8037 appendix A.2.
const KEYS: &str = r#"{"keys":[
{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// The tokens of RFC 7515 appendices A.2 and A.3.
const TOKENS: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiJ9.\
     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
     cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t\
     1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j\
     zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
     Ge77Rw",
    "eyJhbGciOiJFUzI1NiJ9.\
     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
     DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
];

/// A second before the tokens expire.
const NOW: Timestamp = Timestamp::from_seconds(1_300_819_379);

/// Verifies the examples of RFC 7515 as tokens are verified. It neither draws random numbers nor starts threads, so a
/// process may fork afterwards. The error is that of an example which does not verify.
pub fn warm_up() -> Result<(), Rejection> {
    let settings = TrustSettings {
        issuer: Some("joe"),
        audience: Some("*"),
        allowed_algorithms: "RS256, ES256",
        ..TrustSettings::DEFAULT
    };
    let unusable = |problem: String| Rejection::new(Reason::KeysUnavailable, problem);
    let providers = Providers::assemble(&settings).map_err(unusable)?;
    let keys = KeySet::parse(KEYS.as_bytes(), Trust::Network).map_err(unusable)?;
    let mut keys = Examples(Arc::new(keys));
    for token in TOKENS.map(str::as_bytes) {
        digest(token);
        verify(token, &providers, &mut keys, NOW)?;
    }
    Ok(())
}

struct Examples(Arc<KeySet>);

impl Keys for Examples {
    fn current(&mut self, _: &Provider) -> Result<Arc<KeySet>, Rejection> {
        Ok(self.0.clone())
    }

    fn newer(&mut self, _: &Provider) -> Result<Option<Arc<KeySet>>, Rejection> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_examples_verify() {
        assert_eq!(super::warm_up(), Ok(()));
    }
}
