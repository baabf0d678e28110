//! `rls_examples/from_supabase`. The statements that PostgREST sends are its own: one transaction a request, with the
//! role, the headers and the claims in settings, and then `db-pre-request`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::LazyLock;

use pg_test::documents::Page;
use pg_test::{Alg, SigningKey, pg_error};
use postgres::Client;
use serde_json::{Value, json};

use crate::checks::{Guarded, assert_ends};
use crate::migration::*;

const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const BOB: &str = "b0b00000-0000-4000-8000-000000000002";
const TASKS: &str = "SELECT task FROM todos";
const TITLES: &str = "SELECT title FROM documents";
const PROFILES: &str = "SELECT username FROM profiles ORDER BY username";

const POLICIES: &str = "SELECT concat_ws(' | ', p.*, (SELECT obj_description(oid, 'pg_policy') FROM pg_policy
       WHERE polname = policyname AND polrelid = tablename::regclass)) FROM pg_policies p ORDER BY 1";

fn before() -> Example {
    set_up(Example::start("from_supabase", Alg::Es256).with_jwks())
}

fn set_up(example: Example) -> Example {
    example.run("schema.sql");
    example.run("policies.sql");
    example
}

/// The project after the move; applications connect as `authenticator`.
static DIRECT: LazyLock<Example> = LazyLock::new(direct);

fn direct() -> Example {
    let example = before();
    example.run("replace_functions.sql");
    example.set("pg_jwks.set_role", "on");
    example.set("pg_jwks.role_map", "authenticated=authenticated");
    example
}

/// The same behind PostgREST.
static POSTGREST: LazyLock<Example> = LazyLock::new(|| {
    let example = before();
    example.run("replace_functions.sql");
    example.run("pre_request.sql");
    example
});

fn claims(sub: &str, team: &str) -> Value {
    json!({ "sub": sub, "role": "authenticated", "aal": "aal1", "app_metadata": { "team_id": team } })
}

fn alice() -> Value {
    claims(ALICE, "acme")
}

fn bob() -> Value {
    claims(BOB, "globex")
}

#[track_caller]
fn assert_sees(client: &mut Client, tasks: &[&str], titles: &[&str], profiles: &[&str]) {
    let seen = [TASKS, TITLES, PROFILES].map(|query| visible(client, query));
    assert_eq!(seen, [tasks, titles, profiles]);
}

#[test]
fn the_functions_change_and_the_policies_do_not() {
    let example = before();
    let mut superuser = example.superuser();
    let error = superuser.batch_execute("CREATE EXTENSION pg_jwks").expect_err("Supabase's functions are in the way");
    let error = pg_error(&error);
    assert_eq!(error.sqlstate, "42723");
    assert_eq!(error.message, "functions of pg_jwks already exist: auth.email(), auth.jwt(), auth.role(), auth.uid()");
    let script = "rls_examples/from_supabase/replace_functions.sql";
    assert!(error.hint.is_some_and(|hint| hint.contains(script)), "the hint names the script");
    let policies = visible(&mut superuser, POLICIES);
    assert_eq!(policies.len(), 9);

    superuser.batch_execute("CREATE VIEW mine AS SELECT * FROM todos WHERE user_id = auth.uid()").expect("a view");
    let refusal = example.try_run(&[], "replace_functions.sql").expect_err("a view would be lost");
    assert!(refusal.contains("this would drop ") && refusal.contains("view public.mine"), "{refusal}");
    let function = "SELECT prosrc FROM pg_proc WHERE oid = 'auth.uid()'::regprocedure";
    assert!(value::<String>(&mut superuser, function).contains("auth.jwt()"), "nothing has changed");
    assert_eq!(visible(&mut superuser, POLICIES), policies);
    superuser.batch_execute("DROP VIEW mine").expect("no view");

    example.run("replace_functions.sql");
    assert_eq!(value::<String>(&mut superuser, function), "pg_jwks_uid");
    assert_eq!(visible(&mut superuser, POLICIES), policies);
    let default = "SELECT column_default FROM information_schema.columns
                    WHERE table_name = 'todos' AND column_name = 'user_id'";
    assert_eq!(value::<String>(&mut superuser, default), "auth.uid()");
    assert_eq!(value::<i64>(&mut superuser, "SELECT count(*) FROM auth.users"), 2);
}

#[test]
fn applications_see_what_their_users_may() {
    assert_sees(&mut DIRECT.session_with("authenticator", alice()), &["sow"], &["Anvils"], &["alice"]);
    assert_sees(&mut DIRECT.session_with("authenticator", bob()), &["reap"], &["Lamps"], &["alice", "bob"]);
    let mut anonymous = DIRECT.session("authenticator");
    assert_sees(&mut anonymous, &[], &[], &[]);
    anonymous.batch_execute("SET ROLE anon").expect("authenticator is a member");
    assert_sees(&mut anonymous, &[], &[], &["alice"]);
}

#[test]
fn no_way_of_reading_shows_another_team() {
    assert_every_way(&mut DIRECT.session_with("authenticator", alice()), "todos", "task", &["sow"]);
    assert_every_way(&mut DIRECT.session_with("authenticator", bob()), "todos", "task", &["reap"]);
    let users: [(Value, &[&str]); 2] = [(alice(), &["Anvils"]), (bob(), &["Lamps"])];
    DIRECT.assert_a_connection_can_be_shared("authenticator", TITLES, users);
}

#[test]
fn the_legacy_secret_can_be_kept() {
    let example = set_up(Example::start("from_supabase", Alg::Hs256).with_key_file());
    example.run("replace_functions.sql");
    example.set("pg_jwks.allowed_algorithms", "HS256");
    example.set("pg_jwks.set_role", "on");
    example.assert_bad_tokens_refused("authenticator", &alice(), TASKS);
    assert_sees(&mut example.session_with("authenticator", bob()), &["reap"], &["Lamps"], &["alice", "bob"]);
}

/// The command of the README makes a file that the server takes, of any secret.
#[test]
fn one_command_makes_a_key_file_of_the_legacy_secret() {
    const SECRET: &str = r#"super-secret-jwt-token-with-at-least-32-characters-long?>~"'\\$&"#;
    let readme = Page::of_repository("rls_examples/from_supabase/README.md");
    let [command] = &readme.blocks("The legacy shared secret", "sh")[..] else { panic!("one command") };
    let example = set_up(Example::start("from_supabase", Alg::Hs256));
    let path = example.cluster.data_dir().join("legacy_secret.json");
    let command = command.replace("/etc/postgresql/legacy_secret.json", path.to_str().expect("UTF-8"));
    // Others than root install for themselves.
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    let command = if is_root { command } else { command.replace("-o postgres ", "") };
    let status = Command::new("sh").args(["-euc", &command]).env("JWT_SECRET", SECRET).status().expect("a shell");
    assert!(status.success(), "{command}");
    example.run("replace_functions.sql");
    example.set("pg_jwks.allowed_algorithms", "HS256");
    example.set("pg_jwks.jwks_uri", &format!("file:{}", path.display()));
    let key = SigningKey::from_secret(Alg::Hs256, "any", SECRET.as_bytes());
    let token = key.sign(&example.claims(alice()));
    let mut client = example.session("authenticator");
    client.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect("a token of the secret");
    assert_eq!(value::<String>(&mut client, "SELECT auth.uid()::text"), ALICE);
}

#[test]
fn writes_stay_ones_own() {
    let mut client = DIRECT.session_with("authenticator", alice());
    client.batch_execute("BEGIN").expect("a transaction");
    let insert = "INSERT INTO todos (task) VALUES ('mow') RETURNING user_id::text";
    assert_eq!(value::<String>(&mut client, insert), ALICE);
    client.batch_execute("ROLLBACK").expect("a transaction");
    for statement in [
        format!("INSERT INTO todos (user_id, task) VALUES ('{BOB}', 'x')"),
        format!("UPDATE todos SET user_id = '{BOB}'"),
        "INSERT INTO documents (team_id, title) VALUES ('globex', 'x')".to_owned(),
        format!("INSERT INTO profiles VALUES ('{ALICE}', 'x')"),
    ] {
        assert_eq!(refused(&mut client, &statement), "42501", "{statement}");
    }
    for statement in [
        format!("DELETE FROM todos WHERE user_id = '{BOB}'"),
        format!("UPDATE profiles SET username = 'x' WHERE id = '{BOB}'"),
        "UPDATE documents SET title = 'x'".to_owned(),
    ] {
        assert_eq!(changed(&mut client, &statement), 0, "{statement}");
    }
    let mut second_factor = alice();
    second_factor["aal"] = json!("aal2");
    let mut client = DIRECT.session_with("authenticator", second_factor);
    assert_eq!(changed(&mut client, "UPDATE documents SET title = 'Anvils'"), 1);
    assert_eq!(refused(&mut client, "UPDATE documents SET team_id = 'globex'"), "42501");
}

#[test]
fn the_policies_hold_alone() {
    let example = direct();
    Guarded {
        connect: &|role| example.session(role),
        login: "authenticator",
        role: "authenticated",
        token: example.token(alice()),
        homeless: example.token(json!({ "role": "authenticated" })),
        table: "todos",
        home: "user_id",
        item: "task",
        own: &["sow"],
        other: "reap",
    }
    .assert_policies_hold();
}

#[test]
fn an_identity_ends_with_its_token() {
    let mut claims = alice();
    claims["aal"] = json!("aal2");
    let (mut client, end) = DIRECT.ending_session("authenticator", claims);
    let statements = [
        TASKS,
        TITLES,
        PROFILES,
        "INSERT INTO todos (task) VALUES ('mow')",
        "UPDATE documents SET title = 'x'",
        "DELETE FROM todos",
        "SELECT auth.jwt()",
        "SELECT auth.uid()",
        "SELECT auth.role()",
    ];
    assert_ends(&mut client, end, &statements);
}

#[test]
fn nothing_is_unsafe_by_lint() {
    assert_safe_by_lint(&DIRECT);
}

#[test]
fn bad_tokens_are_refused() {
    DIRECT.assert_bad_tokens_refused("authenticator", &alice(), TASKS);
    for role in ["service_role", "postgres", "anon", ""] {
        let mut claims = alice();
        claims["role"] = json!(role);
        let mut client = DIRECT.session("authenticator");
        let error = try_init(&mut client, &DIRECT.token(claims), false).expect_err("a role outside of the map");
        assert_eq!(error.sqlstate, "28000", "{role}");
    }
}

#[test]
fn claims_in_a_session_variable_count_no_more() {
    let mut client = DIRECT.session("authenticator");
    client.batch_execute("SET ROLE authenticated").expect("authenticator is a member");
    let forgery = "SELECT set_config('request.jwt.claims', $1, false), set_config('request.jwt.claim.sub', $2, false)";
    client.execute(forgery, &[&alice().to_string(), &ALICE]).expect("anybody may");
    assert_sees(&mut client, &[], &[], &["alice"]);
}

/// Begins a request as PostgREST does, which has verified the token and believes its claims.
fn begin_request(client: &mut Client, claims: &Value, headers: &Value) {
    client.batch_execute("BEGIN").expect("a transaction");
    let settings = "SELECT set_config('search_path', 'public', true), set_config('role', $1, true),
        set_config('request.jwt.claims', $2, true), set_config('request.method', 'GET', true),
        set_config('request.headers', $3, true)";
    let role = claims["role"].as_str().unwrap_or("anon");
    client.execute(settings, &[&role, &claims.to_string(), &headers.to_string()]).expect("PostgREST's settings");
}

fn end_request(client: &mut Client) {
    client.batch_execute("ROLLBACK").expect("a transaction");
}

#[test]
fn postgrests_requests_are_verified_again() {
    let mut client = POSTGREST.session("authenticator");
    let pre_request = "SELECT public.verify_request()";
    for (claims, tasks, titles, profiles) in [
        (alice(), vec!["sow"], vec!["Anvils"], vec!["alice"]),
        (bob(), vec!["reap"], vec!["Lamps"], vec!["alice", "bob"]),
    ] {
        let header = format!("Bearer {}", POSTGREST.token(claims.clone()));
        begin_request(&mut client, &claims, &json!({ "authorization": header, "accept": "*/*" }));
        client.batch_execute(pre_request).expect("a good token");
        assert_sees(&mut client, &tasks, &titles, &profiles);
        end_request(&mut client);
    }

    begin_request(&mut client, &json!({ "role": "anon" }), &json!({}));
    client.batch_execute(pre_request).expect("no token");
    assert_sees(&mut client, &[], &[], &["alice"]);
    end_request(&mut client);

    // The anonymous key, which clients send when nobody is signed in.
    let anonymous_key = json!({ "iss": "supabase", "ref": "abc", "role": "anon", "iat": 1, "exp": 4_102_444_800_u64 });
    let header = format!("Bearer {}", SigningKey::generate(Alg::Hs256, "legacy").sign(&anonymous_key));
    begin_request(&mut client, &anonymous_key, &json!({ "authorization": header }));
    client.batch_execute(pre_request).expect("nobody is signed in");
    assert_sees(&mut client, &[], &[], &["alice"]);
    assert_eq!(value::<Option<String>>(&mut client, "SELECT auth.user_id()"), None);
    end_request(&mut client);
    begin_request(&mut client, &alice(), &json!({ "authorization": header }));
    assert_eq!(refused(&mut client, pre_request), "28000", "with another role it is refused");
    end_request(&mut client);

    // Whatever claims have come, without a good token they are nobody's.
    begin_request(&mut client, &alice(), &json!({ "authorization": "Basic YWxpY2U6" }));
    client.batch_execute(pre_request).expect("no bearer token");
    assert_sees(&mut client, &[], &[], &["alice"]);
    end_request(&mut client);
    for token in POSTGREST.bad_tokens(&alice()) {
        begin_request(&mut client, &alice(), &json!({ "authorization": format!("bearer {token}") }));
        let sqlstate = refused(&mut client, pre_request);
        assert!(matches!(sqlstate.as_str(), "28000" | "22023"), "{sqlstate}");
        end_request(&mut client);
        client.batch_execute("SET ROLE authenticated").expect("authenticator is a member");
        assert_sees(&mut client, &[], &[], &["alice"]);
        client.batch_execute("RESET ROLE").expect("authenticator again");
    }
}

#[test]
fn postgrests_claims_can_be_trusted_for_a_while() {
    let example = before();
    example.run("replace_functions.sql");
    let mut client = example.session("authenticator");
    begin_request(&mut client, &alice(), &json!({}));
    assert_sees(&mut client, &[], &[], &["alice"]);
    end_request(&mut client);

    example.set("pg_jwks.trust_request_claims", "on");
    let mut client = example.session("authenticator");
    begin_request(&mut client, &alice(), &json!({}));
    assert_sees(&mut client, &["sow"], &["Anvils"], &["alice"]);
    // A verified identity comes first.
    try_init(&mut client, &example.token(bob()), true).expect("a good token");
    assert_sees(&mut client, &["reap"], &["Lamps"], &["alice", "bob"]);
    end_request(&mut client);
    begin_request(&mut client, &json!({ "role": "authenticated" }), &json!({}));
    assert_sees(&mut client, &[], &[], &["alice"]);
    end_request(&mut client);
}
