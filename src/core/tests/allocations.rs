//! A remembered token is recognised without memory being asked for.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use common::{ED25519, NOW, Server, Token};
use pg_jwks_core::cache::token_cache::{Remembered, TokenCache};
use pg_jwks_core::digest::digest;
use pg_jwks_core::verification::verify::verify;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything comes from the system's allocator, and goes back to it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is that of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller has the block from `alloc`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

fn allocations(act: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

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
