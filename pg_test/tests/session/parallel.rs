//! Parallel workers have the identity of their leader, and nothing else.

use crate::server::*;
use pg_test::{Fault, Issuer, claims, now};
use serde_json::json;

#[test]
fn workers_have_the_identity() {
    let mut client = session();
    run(&mut client, PARALLEL);
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
    for sub in ["alice", "bob", "nobody", "carol"] {
        init(&mut client, sub);
        assert_eq!(rows_for_workers(&mut client, "big"), if sub == "nobody" { 0 } else { 10_000 }, "{sub}");
        let owners: Option<String> = value(&mut client, "SELECT string_agg(DISTINCT owner, ',') FROM big");
        assert_eq!(owners.as_deref(), Some(sub).filter(|sub| *sub != "nobody"));
    }
    run(&mut client, "SELECT auth.jwt_session_clear()");
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
}

/// The setting that forces a parallel plan upon everything that may have one.
#[test]
fn forced_workers_have_the_identity() {
    let mut client = session();
    run(&mut client, parallel::force(server()));
    let plan: serde_json::Value =
        value(&mut client, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT auth.user_id() FROM note");
    assert_eq!(plan[0]["Plan"]["Workers Launched"], 1, "{plan}");
    assert_eq!(identity(&mut client), None);
    for sub in ["alice", "bob"] {
        init(&mut client, sub);
        assert_eq!(identity(&mut client).as_deref(), Some(sub));
    }
    try_init(&mut client, "garbage").expect_err("garbage");
    assert_eq!(identity(&mut client), None);
}

#[test]
fn workers_have_the_identity_of_the_moment() {
    let mut client = session();
    run(&mut client, PARALLEL);
    init(&mut client, "alice");
    run(&mut client, "BEGIN; SAVEPOINT s");
    run(&mut client, &local_init_statement(&token("nobody")));
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
    run(&mut client, "ROLLBACK TO s");
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
    run(&mut client, &local_init_statement(&token("nobody")));
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
    run(&mut client, "COMMIT");
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
    run(&mut client, "BEGIN; RESET pg_jwks.session");
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
    run(&mut client, "ROLLBACK");
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
    run(&mut client, "BEGIN; SELECT auth.jwt_session_clear()");
    run(&mut client, &local_init_statement(&token("bob")));
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
    run(&mut client, "COMMIT");
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
}

/// Every reader, in a filter that only workers evaluate.
#[test]
fn all_readers_work_in_workers() {
    let name = database("parallel_readers");
    run(
        &mut server().connect("postgres", name),
        "CREATE TABLE plain AS SELECT generate_series(1, 1000) AS id; GRANT SELECT ON plain TO PUBLIC",
    );
    let sub = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let token = token_with(json!({
        "sub": sub, "role": "admin", "email": "a@b.example", "scope": "read", "o": { "id": sub, "name": "\u{fc}" }
    }));
    let mut client = server().connect("app", name);
    run(&mut client, PARALLEL);
    for condition in [
        "auth.user_id() = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
        "auth.uid() = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
        "auth.jwt() ->> 'email' = 'a@b.example'",
        "auth.session() ->> 'role' = 'admin'",
        "auth.role() = 'admin'",
        "auth.email() = 'a@b.example'",
        "auth.claim('o', 'name') = 'ü'",
        "auth.has_scope('read')",
        "auth.has_role('admin')",
        "auth.organization() ->> 'name' = 'ü'",
        "auth.organization_id() = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
        "auth.expires_at() > now()",
    ] {
        // The other half of the condition keeps it from being evaluated once for the whole plan.
        let query =
            format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT id FROM plain WHERE {condition} AND id > 0");
        for (token, rows) in [(Some(&token), 1000.0), (None, 0.0)] {
            match token {
                Some(token) => try_init(&mut client, token).expect("a good token"),
                None => run(&mut client, "SELECT auth.jwt_session_clear()"),
            }
            let plan: serde_json::Value = value(&mut client, &query);
            let gather = &plan[0]["Plan"];
            assert!(gather["Workers Launched"].as_i64().is_some_and(|workers| workers > 0), "{plan}");
            assert_eq!(gather["Actual Rows"].as_f64(), Some(rows), "{condition}: {plan}");
        }
    }
}

/// A mistake that others make: each worker verifies again, and asks the issuer for keys.
#[test]
fn workers_neither_verify_nor_fetch() {
    let issuer = Issuer::start();
    issuer.publish(&[&KEY]);
    issuer.set_cache_control(Some("max-age=1"));
    let name = database("parallel_fetch");
    run(
        &mut server().client(),
        &format!(
            "ALTER DATABASE {name} SET pg_jwks.jwks = ''; ALTER DATABASE {name} SET pg_jwks.issuer = '{}';
             ALTER DATABASE {name} SET pg_jwks.jwks_cache_ttl = '1s';
             ALTER DATABASE {name} SET pg_jwks.allow_insecure_http = on",
            issuer.url()
        ),
    );
    let mut client = server().connect("app", name);
    run(&mut client, PARALLEL);
    try_init(&mut client, &KEY.sign(&claims(issuer.url(), "alice"))).expect("a good token");
    let after_init = issuer.requests();
    assert_eq!((after_init.discovery, after_init.jwks), (1, 1));
    issuer.set_fault(Fault::Refuse);
    let mark = server().log_mark();
    for _ in 0..10 {
        assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
    }
    assert_eq!(issuer.requests(), after_init, "a worker fetched keys");
    let log = server().log_since(mark);
    assert!(!log.contains(issuer.url()), "{log}");
    // The keys are too old by now, so that whoever verified would have to fetch.
    drop(issuer);
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
}

/// A function that claims to be parallel safe and is not gains nothing.
#[test]
fn an_init_in_parallel_mode_is_an_error_and_fails_closed() {
    let name = database("parallel_mislabelled");
    let mut client = server().connect("app", name);
    run(
        &mut client,
        "CREATE FUNCTION public.login(token text) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS
            $$BEGIN PERFORM auth.jwt_session_init(token); RETURN true; END$$",
    );
    run(&mut client, PARALLEL);
    // In the leader and not in a worker, so that the leader's own identity is at stake.
    run(&mut client, "SET parallel_leader_participation = on");
    init(&mut client, "alice");
    let query = format!("SELECT count(*) FROM big WHERE public.login('{}')", token("bob"));
    let error = refused(&mut client, &query);
    assert_eq!(error.sqlstate, "25000", "{error:?}");
    let identity = identity(&mut client);
    assert!(identity.is_none() || identity.as_deref() == Some("alice"), "{identity:?}");
}

#[test]
fn an_expired_identity_is_refused_in_workers() {
    // Only the leeway keeps it alive, so that the test need not wait.
    let mut client = superuser();
    run(&mut client, PARALLEL);
    run(&mut client, "SET pg_jwks.leeway = '300s'");
    try_init(&mut client, &token_with(json!({ "exp": now() - 10 }))).expect("a token within the leeway");
    let query = "SELECT count(*) FROM big WHERE owner = auth.user_id()";
    assert_eq!(value::<i64>(&mut client, query), 10_000);
    run(&mut client, "SET pg_jwks.leeway = 0");
    let error = client.query_one(query, &[]).expect_err("an expired identity");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!((error.code().code(), error.message()), ("28000", "JWT has expired"));
}
