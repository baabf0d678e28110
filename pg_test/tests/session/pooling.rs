//! Sessions, transactions and connections that clients share.

use crate::server::*;

#[test]
fn a_session_identity_lasts_and_is_replaced() {
    let mut client = session();
    assert_eq!(identity(&mut client), None);
    for sub in ["alice", "bob", "alice", "carol"] {
        init(&mut client, sub);
        for _ in 0..3 {
            assert_eq!(identity(&mut client).as_deref(), Some(sub));
        }
    }
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(identity(&mut client), None);
    run(&mut client, "SELECT auth.jwt_session_clear(); SELECT auth.init()");
    assert_eq!(identity(&mut client), None);
    assert_eq!(identity(&mut session()), None, "another session");
}

#[test]
fn a_session_identity_is_transactional() {
    let mut client = session();
    init(&mut client, "alice");
    run(&mut client, &format!("BEGIN; {}", init_statement(&token("bob"))));
    assert_eq!(identity(&mut client).as_deref(), Some("bob"));
    run(&mut client, "ROLLBACK");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    run(&mut client, &format!("BEGIN; SAVEPOINT s; {}; ROLLBACK TO s", init_statement(&token("bob"))));
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    run(&mut client, &format!("SAVEPOINT s; {}; RELEASE s; COMMIT", init_statement(&token("bob"))));
    assert_eq!(identity(&mut client).as_deref(), Some("bob"));
    run(&mut client, "BEGIN; SELECT auth.jwt_session_clear()");
    assert_eq!(identity(&mut client), None);
    run(&mut client, "ROLLBACK");
    assert_eq!(identity(&mut client).as_deref(), Some("bob"));
}

#[test]
fn a_local_identity_ends_with_the_transaction() {
    let mut client = session();
    for end in ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN"] {
        for before in [None, Some("alice")] {
            run(&mut client, "ROLLBACK; SELECT auth.jwt_session_clear()");
            if let Some(sub) = before {
                init(&mut client, sub);
            }
            run(&mut client, &format!("BEGIN; {}", local_init_statement(&token("bob"))));
            assert_eq!(identity(&mut client).as_deref(), Some("bob"));
            run(&mut client, &format!("SAVEPOINT s; {}", local_init_statement(&token("carol"))));
            assert_eq!(identity(&mut client).as_deref(), Some("carol"));
            run(&mut client, "ROLLBACK TO s");
            assert_eq!(identity(&mut client).as_deref(), Some("bob"));
            run(&mut client, end);
            assert_eq!(identity(&mut client).as_deref(), before, "{end}");
        }
    }
    run(&mut client, "ROLLBACK; SELECT auth.jwt_session_clear()");
    run(&mut client, &local_init_statement(&token("bob")));
    assert_eq!(identity(&mut client), None, "without a transaction it lasts for its statement");
}

/// `auth.jwt_session_init(token, is_local)` does what `set_config(name, value, is_local)` does.
#[test]
fn is_local_means_what_it_means_to_set_config() {
    let mut client = session();
    let steps = [
        "BEGIN",
        "LOCAL alice",
        "SET bob",
        "SAVEPOINT s",
        "LOCAL carol",
        "ROLLBACK TO s",
        "LOCAL alice",
        "RELEASE s",
        "COMMIT",
        "BEGIN",
        "SET carol",
        "LOCAL bob",
        "SAVEPOINT s",
        "SET alice",
        "RELEASE s",
        "COMMIT",
        "BEGIN",
        "SAVEPOINT s",
        "SET bob",
        "LOCAL carol",
        "RELEASE s",
        "LOCAL alice",
        "ROLLBACK",
        "SET NULL",
        "BEGIN",
        "LOCAL alice",
        "COMMIT",
    ];
    for step in steps {
        let (word, sub) = step.split_once(' ').unwrap_or((step, ""));
        match (word, sub) {
            ("SET" | "LOCAL", sub) => {
                let is_local = word == "LOCAL";
                let token = token(sub);
                match sub {
                    "NULL" => run(&mut client, "SELECT auth.jwt_session_clear(), set_config('test.sub', '', false)"),
                    _ => run(
                        &mut client,
                        &format!(
                            "SELECT auth.jwt_session_init('{token}', {is_local}), set_config('test.sub', '{sub}', {is_local})"
                        ),
                    ),
                }
            }
            _ => run(&mut client, step),
        }
        let other: Option<String> = value(&mut client, "SELECT nullif(current_setting('test.sub', true), '')");
        assert_eq!(identity(&mut client), other, "{step}");
    }
}

#[test]
fn reset_and_discard_take_the_identity_away() {
    let mut client = session();
    for statement in ["RESET ALL", "DISCARD ALL", "RESET pg_jwks.session", "SET pg_jwks.session TO DEFAULT"] {
        init(&mut client, "alice");
        run(&mut client, statement);
        assert_eq!(identity(&mut client), None, "{statement}");
    }
    init(&mut client, "alice");
    run(&mut client, "DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"), "these are not about settings");
    run(&mut client, "BEGIN; RESET ALL");
    assert_eq!(identity(&mut client), None);
    run(&mut client, "ROLLBACK");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
}

/// A mistake that others make: the identity leaks to the next user of a pooled connection. A session pooler hands the
/// connection of one client to the next.
#[test]
fn the_identity_does_not_leak_to_the_next_client_of_a_session_pooler() {
    let mut connection = session();
    for (first, second) in [("alice", "bob"), ("bob", "carol")] {
        init(&mut connection, first);
        assert_eq!(identity(&mut connection).as_deref(), Some(first));
        run(&mut connection, "DISCARD ALL");
        assert_eq!(identity(&mut connection), None, "the second client, before its init");
        init(&mut connection, second);
        assert_eq!(identity(&mut connection).as_deref(), Some(second));
        // A pooler without a reset query, and a client with a bad token, whose error it ignores.
        for bad in ["garbage".to_owned(), forged_token(first), token_for_seconds(first, -3600)] {
            init(&mut connection, second);
            try_init(&mut connection, &bad).expect_err("a bad token");
            assert_eq!(identity(&mut connection), None, "the client with the bad token");
        }
    }
}

/// The same behind a transaction pooler: transactions of two clients alternate on one connection.
#[test]
fn the_identity_does_not_leak_to_the_next_client_of_a_transaction_pooler() {
    let mut connection = session();
    for round in 0..20 {
        let sub = ["alice", "bob"][round % 2];
        run(&mut connection, &format!("BEGIN; {}", local_init_statement(&token(sub))));
        assert_eq!(identity(&mut connection).as_deref(), Some(sub));
        match round % 5 {
            0 => run(&mut connection, "ROLLBACK"),
            1 => {
                refused(&mut connection, "SELECT 1 / 0");
                run(&mut connection, "ROLLBACK");
            }
            2 => {
                refused(&mut connection, &local_init_statement("garbage"));
                run(&mut connection, "COMMIT");
            }
            _ => run(&mut connection, "COMMIT"),
        }
        assert_eq!(identity(&mut connection), None, "a client without a token");
        run(&mut connection, "BEGIN");
        assert_eq!(identity(&mut connection), None, "a transaction without a token");
        run(&mut connection, "COMMIT");
    }
}

#[test]
fn an_error_between_clients_leaves_what_the_transaction_began_with() {
    let mut connection = session();
    init(&mut connection, "alice");
    run(&mut connection, "BEGIN");
    run(&mut connection, &init_statement(&token("bob")));
    refused(&mut connection, "SELECT 1 / 0");
    assert_eq!(refused(&mut connection, &init_statement(&token("carol"))).sqlstate, "25P02");
    run(&mut connection, "COMMIT");
    assert_eq!(identity(&mut connection).as_deref(), Some("alice"));
}
