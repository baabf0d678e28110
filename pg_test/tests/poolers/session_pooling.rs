//! `pool_mode = session`: a client has its connection until it leaves.

use crate::server::*;

const SETTINGS: &str = "pool_mode = session
server_reset_query = DISCARD ALL
default_pool_size = 1";

#[test]
fn the_identity_lasts_until_the_client_leaves() {
    let bouncer = SERVER.pgbouncer("app", SETTINGS);
    let mut pid = None;
    for sub in ["alice", "bob", "alice"] {
        let mut client = bouncer.connect("app");
        assert!(seen(&mut client).is_empty(), "nothing is left of the client before");
        init(&mut client, &token(sub), false).expect("a good token");
        for _ in 0..2 {
            assert_eq!(seen(&mut client), [sub]);
        }
        let own = backend(&mut client);
        assert_eq!(*pid.get_or_insert(own), own, "the connection is shared");
    }
}

#[test]
fn a_client_that_ignores_the_error_of_its_token_is_nobody() {
    let bouncer = SERVER.pgbouncer("app", SETTINGS);
    for bad in bad_tokens("alice") {
        let mut client = bouncer.connect("app");
        init(&mut client, &token("alice"), false).expect("a good token");
        init(&mut client, &bad, false).expect_err("a bad token");
        assert!(seen(&mut client).is_empty());
        drop(client);
        assert!(seen(&mut bouncer.connect("app")).is_empty());
    }
}

/// Even without `DISCARD ALL` the next client is who its own token says, or nobody where that is refused.
#[test]
fn a_pooler_that_resets_nothing_leaks_nothing_past_the_next_token() {
    let bouncer = SERVER.pgbouncer("app", "pool_mode = session\nserver_reset_query =\ndefault_pool_size = 1");
    init(&mut bouncer.connect("app"), &token("alice"), false).expect("a good token");
    let mut client = bouncer.connect("app");
    assert_eq!(seen(&mut client), ["alice"], "this is why DISCARD ALL is needed");
    init(&mut client, &bad_tokens("bob")[0], false).expect_err("a bad token");
    assert!(seen(&mut client).is_empty());
}
