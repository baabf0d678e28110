//! A backend that sees many tokens does not grow.

use pg_test::{backend, claims};
use postgres::Client;

use crate::server::*;

const WARM_UP: usize = 5_000;
const INITS: usize = 100_000;
const BATCH: usize = 1_000;

/// Noise of the allocator; one forgotten claim set an init would be a hundred times as much.
const RSS_SLACK_KIB: u64 = 2_048;
const CONTEXT_SLACK_BYTES: i64 = 256 * 1024;

struct Usage {
    rss: u64,
    contexts: i64,
}

fn usage(client: &mut Client) -> Usage {
    let pid: i32 = value(client, "SELECT pg_backend_pid()");
    let contexts = backend::memory_contexts(client);
    Usage { rss: backend::rss_kib(pid), contexts }
}

/// Calls `batch` with the numbers of the inits to make, and compares the memory after a warm-up with that at the end.
fn assert_flat(what: &str, mut batch: impl FnMut(&mut Client, std::ops::Range<usize>)) {
    let mut client = superuser();
    let mut measured = None;
    for start in (0..INITS).step_by(BATCH) {
        if start == WARM_UP {
            measured = Some(usage(&mut client));
        }
        batch(&mut client, start..start + BATCH);
    }
    let (before, after) = (measured.expect("more inits than the warm-up"), usage(&mut client));
    assert!(after.rss < before.rss + RSS_SLACK_KIB, "{what}: RSS from {} to {} KiB", before.rss, after.rss);
    assert!(
        after.contexts < before.contexts + CONTEXT_SLACK_BYTES,
        "{what}: memory contexts from {} to {} bytes",
        before.contexts,
        after.contexts
    );
}

fn tokens(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| token(&format!("user {number} {}", "x".repeat(number % 50)))).collect()
}

#[test]
fn different_tokens_leave_the_memory_flat() {
    assert_flat("different tokens", |client, numbers| {
        let init = client.prepare("SELECT auth.jwt_session_init($1)").expect("a statement");
        for token in tokens(numbers.clone()) {
            client.execute(&init, &[&token]).expect("a good token");
        }
        let last: String = value(client, "SELECT auth.user_id()");
        assert!(last.starts_with(&format!("user {} ", numbers.end - 1)), "{last}");
    });
}

/// Many in each transaction, and local ones among them, where PostgreSQL keeps more.
#[test]
fn one_token_over_and_over_leaves_the_memory_flat() {
    let token = KEY.sign(&claims(ISSUER, "alice"));
    assert_flat("one token", |client, numbers| {
        let init = client
            .prepare("SELECT auth.jwt_session_init($1, n = 1) FROM generate_series(1, $2) n")
            .expect("a statement");
        client.execute(&init, &[&token, &i32::try_from(numbers.len()).expect("a small number")]).expect("a good token");
        assert_eq!(value::<String>(client, "SELECT auth.user_id()"), "alice");
    });
}

#[test]
fn two_tokens_in_turn_with_readers_leave_the_memory_flat() {
    let tokens = [token("alice"), token(&"bob".repeat(100))];
    assert_flat("two tokens in turn", |client, numbers| {
        client
            .execute(
                "SELECT auth.jwt_session_init(($1::text[])[n % 2 + 1]), length(auth.user_id()), auth.uid(), auth.jwt(),
                        auth.claim('sub'), auth.has_role('x'), auth.has_scope('x'), auth.expires_at()
                 FROM generate_series(1, $2) n",
                &[&tokens.as_slice(), &i32::try_from(numbers.len()).expect("a small number")],
            )
            .expect("good tokens");
    });
}

/// Failures do not accumulate either: each leaves an error, an abort and a revoked identity.
#[test]
fn failures_leave_the_memory_flat() {
    let (good, bad) = (token("alice"), forged_token("bob"));
    assert_flat("failures", |client, numbers| {
        let block = format!(
            "DO $$BEGIN FOR n IN 1..{} LOOP
                BEGIN PERFORM auth.jwt_session_init('{good}'); PERFORM auth.user_id();
                      PERFORM auth.jwt_session_init('{bad}');
                EXCEPTION WHEN invalid_authorization_specification THEN NULL; END;
             END LOOP; END$$",
            numbers.len() / 10
        );
        run(client, &block);
        assert_eq!(value::<Option<String>>(client, "SELECT auth.user_id()"), None);
    });
}
