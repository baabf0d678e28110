//! Stored key documents: what is not whole is not read, and what was written is read as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::cache::stored::Stored;
use pg_jwks_core::digest::digest;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    read(data);
    // No mutation finds a digest, so the same bytes are read behind theirs, too.
    let sum: String = digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    read(&[sum.as_bytes(), b"\n", data].concat());
});

fn read(contents: &[u8]) {
    if let Some((stored, origin)) = Stored::decode::<Value>(contents) {
        let again = stored.encode(&origin).expect("JSON");
        // Where a document comes from has no numbers, of which some change when they are written.
        assert_eq!(Stored::decode::<Value>(&again).map(|(again, _)| again), Some(stored));
    }
}
