//! The types of the two columns.

use std::thread::sleep;
use std::time::Duration;

use crate::server::*;

fn schema(user: &str, tenant: &str, rows: &str) -> String {
    format!(
        "CREATE DOMAIN user_no AS int CHECK (VALUE > 0); CREATE DOMAIN handle AS text CHECK (VALUE ~ '^[a-z]');
         CREATE TABLE users (id {user} PRIMARY KEY, tenant_id {tenant}); INSERT INTO users VALUES {rows}"
    )
}

/// Whatever the types, a user has the tenant of the row whose column, as text, is the `sub`.
#[test]
fn users_and_tenants_may_have_all_usual_types() {
    let users = [
        ("text", "alice", "bob"),
        ("varchar(20)", "alice", "bob"),
        ("char(8)", "alice", "bob"),
        ("uuid", ALICE, BOB),
        ("int2", "1", "2"),
        ("int4", "-1", "2000000000"),
        ("int8", "1", "9000000000000000000"),
        ("user_no", "1", "2"),
        ("handle", "alice", "bob"),
        ("numeric", "1", "2"),
    ];
    let kinds = [("uuid", RED, BLUE), ("text", "red", "blue"), ("int", "10", "20"), ("bigint", "-5", "5000000000")];
    for (number, (user, alice, bob)) in users.into_iter().enumerate() {
        let (kind, red, blue) = kinds[number % 4];
        let rows = format!("('{alice}', '{red}'), ('{bob}', '{blue}')");
        let database = Database::new(&format!("types_{number}"), &schema(user, kind, &rows));
        let mut client = database.app();
        for (sub, own, other) in [(alice, red, blue), (bob, blue, red)] {
            init(&mut client, sub);
            assert_eq!(tenant(&mut client).as_deref(), Some(own), "{user}, {kind}");
            assert_eq!(tenants(&mut client), Some(vec![own.into()]), "{user}, {kind}");
            let error = refused(&mut client, &format!("SELECT auth.set_tenant('{other}')"));
            assert_eq!(error.sqlstate, "42501", "{user}, {kind}");
            run(&mut client, &format!("SELECT auth.set_tenant('{own}')"));
            assert_eq!(tenant(&mut client).as_deref(), Some(own), "{user}, {kind}");
            let uuid = "SELECT get_current_user_tenant_id()::text";
            if kind == "uuid" {
                assert_eq!(value::<String>(&mut client, uuid), own);
            } else {
                let error = refused(&mut client, uuid);
                assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("22P02", "tenant is not a uuid"));
                assert!(error.hint.is_some_and(|hint| hint.contains("auth.tenant_id()")));
            }
            run(&mut client, "SELECT auth.set_tenant(NULL)");
        }
    }
}

/// Spellings that a type's own comparison would take for the same user, or that are no value of the type.
#[test]
fn other_spellings_are_other_users() {
    let long = "x".repeat(64);
    for (number, (user, id, others)) in [
        ("int4", "7", &["07", "+7", " 7", "7 ", "7.0", "7e0", "0x7", "seven", "99999999999999999999", "\u{667}"][..]),
        ("int8", "7", &["07", "7 ", "9223372036854775808", "-9223372036854775809"]),
        ("int2", "7", &["007", "40000"]),
        ("uuid", ALICE, &["a11ce000000040008000000000000001", "{a11ce000-0000-4000-8000-000000000001}", "alice"]),
        ("text", "alice", &["Alice", "alice ", " alice", "alic", "%", "'alice'", "alice'--", "' OR '1'='1", "$1"]),
        ("varchar(5)", "alice", &["alicex", "alice "]),
        ("char(8)", "alice", &["alice ", "alice   ", "alicexxxx"]),
        ("name", "alice", &["alice ", &long]),
        ("numeric", "7", &["7.0", "07", "NaN"]),
        ("user_no", "7", &["07", "-1", "0"]),
        ("handle", "alice", &["9lives", "Alice"]),
    ]
    .into_iter()
    .enumerate()
    {
        let database = Database::new(&format!("spelling_{number}"), &schema(user, "text", &format!("('{id}', 'red')")));
        let mut client = database.app();
        for other in others {
            init(&mut client, other);
            assert_eq!((tenant(&mut client), tenants(&mut client)), (None, Some(vec![])), "{user}: {other:?}");
        }
        init(&mut client, id);
        assert_eq!(tenant(&mut client).as_deref(), Some("red"), "{user}");
    }
}

/// A type that compares without case, and is indexed so; a `sub` has one spelling all the same (RFC 7519 §4.1.2).
#[test]
#[cfg_attr(without_citext, ignore = "this PostgreSQL was installed without citext")]
fn case_counts_in_citext() {
    let schema = "CREATE SCHEMA elsewhere; CREATE EXTENSION citext SCHEMA elsewhere;
        CREATE TABLE users (id elsewhere.citext PRIMARY KEY, tenant_id elsewhere.citext);
        INSERT INTO users SELECT 'u' || n, 't' || n FROM generate_series(1, 20000) n; INSERT INTO users VALUES ('Alice', 'Red');
        ANALYZE users";
    let database = Database::of_superuser("types_citext", schema);
    let mut superuser = database.superuser();
    sleep(Duration::from_millis(300));
    run(&mut superuser, "SELECT pg_stat_reset()");
    let mut client = database.app();
    for (sub, own) in [("Alice", Some("Red")), ("alice", None)] {
        init(&mut client, sub);
        assert_eq!(tenant(&mut client).as_deref(), own, "{sub}");
    }
    init(&mut client, "Alice");
    assert_eq!(refused(&mut client, "SELECT auth.set_tenant('red')").sqlstate, "42501");
    run(&mut client, "SELECT auth.set_tenant('Red')");
    drop(client);
    assert_eq!(scans(&mut superuser, "users", 4), (0, 4));
}

#[test]
fn a_uuid_may_be_in_upper_case() {
    let mut client = Database::new("upper_case", USUAL).app();
    init(&mut client, &CAROL.to_uppercase());
    run(&mut client, &format!("SELECT auth.set_tenant('{}')", RED.to_uppercase()));
    assert_eq!((tenant(&mut client).as_deref(), notes(&mut client)), (Some(RED), vec![1, 3]));
}

#[test]
fn a_token_without_sub_has_no_membership() {
    let mut client = Database::new("no_sub", USUAL).app();
    let mut claims = pg_test::claims(ISSUER, ALICE);
    claims.as_object_mut().expect("an object").remove("sub");
    client.execute("SELECT auth.jwt_session_init($1)", &[&token_of(&claims)]).expect("a token without sub");
    assert_eq!((tenant(&mut client), tenants(&mut client), notes(&mut client)), (None, Some(vec![]), vec![]));
    assert_eq!(refused(&mut client, &format!("SELECT auth.set_tenant('{RED}')")).sqlstate, "42501");
}

#[test]
fn rows_without_tenant_are_no_memberships() {
    let schema = "CREATE TABLE users (id text, tenant_id text); INSERT INTO users VALUES
        ('alice', NULL), ('bob', NULL), ('bob', 'red'), ('bob', 'red'), (NULL, 'blue')";
    let mut client = Database::new("null_tenants", schema).app();
    init(&mut client, "alice");
    assert_eq!((tenant(&mut client), tenants(&mut client)), (None, Some(vec![])));
    init(&mut client, "bob");
    assert_eq!((tenant(&mut client).as_deref(), tenants(&mut client)), (Some("red"), Some(vec!["red".into()])));
}

/// Of whatever type the user column is.
#[test]
fn the_index_is_used() {
    for (number, (user, id)) in [
        ("text", "'u' || n"),
        ("varchar(20)", "'u' || n"),
        ("uuid", "md5('u' || n)::uuid"),
        ("int", "n"),
        ("bigint", "n"),
        ("user_no", "n"),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = format!(
            "CREATE DOMAIN user_no AS int; CREATE TABLE users (id {user} PRIMARY KEY, tenant_id int);
             INSERT INTO users SELECT {id}, n FROM generate_series(1, 20000) n; ANALYZE users"
        );
        let database = Database::new(&format!("indexed_{number}"), &schema);
        let sub: String = value(&mut database.dba(), "SELECT id::text FROM users WHERE tenant_id = 777");
        let mut superuser = database.superuser();
        sleep(Duration::from_millis(300));
        run(&mut superuser, "SELECT pg_stat_reset()");
        let mut client = database.app();
        init(&mut client, &sub);
        assert_eq!(tenant(&mut client).as_deref(), Some("777"));
        run(&mut client, "SELECT auth.set_tenant('777')");
        assert_eq!(tenant(&mut client).as_deref(), Some("777"));
        drop(client);
        assert_eq!(scans(&mut superuser, "users", 3), (0, 3), "{user}");
    }
}
