//! HTTP caching headers: whatever an issuer grants, keys live as long as the settings allow at most.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_jwks_core::bounds::MIN_KEY_LIFE_SECONDS;
use pg_jwks_core::cache::freshness::{Freshness, Limits, Step, Upkeep};
use pg_jwks_core::cache::http_caching::max_age;
use pg_jwks_core::time::{Span, Timestamp};

fuzz_target!(|data: &[u8]| {
    let (numbers, header) = data.split_at(data.len().min(12));
    let number = |at: usize| {
        let bytes = numbers.get(at..at + 4).unwrap_or(&[0; 4]);
        i64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % (366 * 24 * 3600))
    };
    let Ok(header) = std::str::from_utf8(header) else { return };
    let limits = Limits {
        ttl: Span::from_seconds(number(0).max(1)),
        cooldown: Span::from_seconds(30),
        max_stale: Span::from_seconds(number(4)),
    };
    let now = Timestamp::from_seconds(1_750_000_000);
    let granted = max_age(header);
    let mut freshness = Freshness::NEW;
    freshness.fetched(now, granted, &limits);
    let expires = freshness.expires(&limits).expect("there are keys");
    assert!(now < expires && expires <= now + limits.ttl.max(Span::from_seconds(MIN_KEY_LIFE_SECONDS)));
    for upkeep in [Upkeep::OnUse, Upkeep::Unasked] {
        assert_eq!(freshness.step(now, &limits, upkeep), Step::Use);
        assert!(freshness.due(now, &limits, upkeep) <= expires);
        let later = now + Span::from_seconds(number(8));
        let serves = freshness.serves(later, &limits);
        assert!(serves || later >= expires, "fresh keys serve");
        if freshness.step(later, &limits, upkeep) == Step::Use {
            assert!(serves);
        }
    }
});
