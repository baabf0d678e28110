//! `pool_mode = transaction`: clients take turns on a connection.

use crate::server::*;

const SETTINGS: &str = "pool_mode = transaction
default_pool_size = 1";

#[test]
fn clients_that_take_turns_see_their_own_rows() {
    let bouncer = SERVER.pgbouncer("app", SETTINGS);
    let mut clients = [("alice", bouncer.connect("strict")), ("bob", bouncer.connect("strict"))];
    let mut pids = Vec::new();
    for _ in 0..3 {
        for (sub, client) in &mut clients {
            assert!(seen(client).is_empty(), "nothing is left of the other client");
            run(client, "BEGIN");
            init(client, &token(sub), true).expect("a good token");
            assert_eq!(seen(client), [*sub]);
            pids.push(backend(client));
            run(client, "COMMIT");
            assert!(seen(client).is_empty(), "nor of its own transaction");
        }
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "one connection for both");
}

#[test]
fn a_failed_init_leaves_nobody_to_the_next_client() {
    let bouncer = SERVER.pgbouncer("app", SETTINGS);
    let (mut first, mut second) = (bouncer.connect("strict"), bouncer.connect("strict"));
    for bad in bad_tokens("alice") {
        run(&mut first, "BEGIN");
        init(&mut first, &token("alice"), true).expect("a good token");
        init(&mut first, &bad, true).expect_err("a bad token");
        run(&mut first, "ROLLBACK");
        assert!(seen(&mut first).is_empty());
        assert!(seen(&mut second).is_empty());
    }
}

#[test]
fn an_identity_for_the_session_is_refused_where_session_scope_says_so() {
    let bouncer = SERVER.pgbouncer("app", SETTINGS);
    let mut client = bouncer.connect("strict");
    let error = init(&mut client, &token("alice"), false).expect_err("not local");
    assert_eq!(error.sqlstate, "55000");
    assert!(seen(&mut bouncer.connect("strict")).is_empty());

    let mut careless = bouncer.connect("app");
    init(&mut careless, &token("alice"), false).expect("a good token");
    let mut next = bouncer.connect("app");
    assert_eq!(seen(&mut next), ["alice"], "this is why session_scope exists");
}
