//! Files of certificates: whatever is read from one is taken as a trust root or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::certificates::certificates;
use rustls::RootCertStore;

fuzz_target!(|data: &[u8]| {
    let found = certificates(data);
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.iter().cloned());
    assert_eq!(added + ignored, found.len());
    assert_eq!(roots.len(), added);
    // The same bytes, as one certificate.
    let _ = roots.add(data.to_vec().into());
});
