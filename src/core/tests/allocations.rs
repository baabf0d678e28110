//! A remembered token is recognised without memory being asked for.

mod common;
#[path = "common/allocations.rs"]
mod counting;

use std::sync::Arc;

use common::{ED25519, NOW, Server, Token};
use counting::allocations;
use pg_jwks_core::cache::token_cache::{Remembered, TokenCache};
use pg_jwks_core::digest::digest;
use pg_jwks_core::verification::verify::verify;

#[test]
fn a_remembered_token_is_recalled_without_an_allocation() {
    let token = Token::new(&ED25519).text();
    let server = Server::new(&[&ED25519]);
    let verified = verify(token.as_bytes(), &server.providers(), &mut server.keys.clone(), NOW).expect("a good token");
    let mut cache = TokenCache::new(8);
    cache.remember(digest(token.as_bytes()), Remembered { claims: Arc::new(verified), unrevoked_at: 0 });
    let mut keys = server.keys.clone();
    let mut json = None;
    let count = allocations(|| {
        let recalled = cache.recall(&digest(token.as_bytes()), &mut keys, NOW).expect("still good");
        json = recalled.map(|recalled| recalled.claims.json().clone());
    });
    assert_eq!(count, 0);
    assert!(json.is_some_and(|json| json.contains("\"sub\"")));
    assert!(allocations(|| drop(std::hint::black_box(vec![1_u8]))) > 0, "they are counted");
}
