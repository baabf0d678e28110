//! Nobody but `jwt_session_init` sets the identity.

use crate::server::*;
use pg_test::pg_error;
use postgres::Client;

#[track_caller]
fn refused_as_direct(client: &mut Client, statement: &str) {
    let error = refused(client, statement);
    assert_eq!(error.sqlstate, "42501", "{statement}: {error:?}");
    assert_eq!(error.message, "parameter \"pg_jwks.session\" cannot be set directly", "{statement}");
    assert_eq!(error.hint.as_deref(), Some("Call auth.jwt_session_init() with a token."), "{statement}");
    assert!(!format!("{error:?}").contains("bob"), "{error:?}");
}

/// Each way to write a setting, with the value quoted in place.
fn attacks(value: &str) -> Vec<String> {
    let value = value.replace('\'', "''");
    [
        "SET pg_jwks.session = 'VALUE'",
        "SET SESSION pg_jwks.session TO 'VALUE'",
        "SET pg_jwks.\"session\" = 'VALUE'",
        "SET \"pg_jwks.session\" = 'VALUE'",
        "SET PG_JWKS.SESSION = 'VALUE'",
        "BEGIN; SET LOCAL pg_jwks.session = 'VALUE'",
        "SELECT set_config('pg_jwks.session', 'VALUE', false)",
        "SELECT set_config('pg_jwks.session', 'VALUE', true)",
        "DO $do$BEGIN PERFORM set_config('pg_jwks.session', 'VALUE', false); END$do$",
        "DO $do$BEGIN EXECUTE $x$SET pg_jwks.session = 'VALUE'$x$; END$do$",
        "ALTER ROLE app SET pg_jwks.session = 'VALUE'",
        "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET pg_jwks.session = 'VALUE' AS 'SELECT 1'",
    ]
    .map(|attack| attack.replace("VALUE", &value))
    .into()
}

/// A mistake that others make: the claims are in a setting that users can set.
#[test]
fn the_setting_cannot_be_set() {
    for mut client in [session(), superuser()] {
        for before in [None, Some("alice")] {
            if let Some(sub) = before {
                init(&mut client, sub);
            } else {
                run(&mut client, "SELECT auth.init()");
            }
            let own: String = value(&mut client, "SHOW pg_jwks.session");
            let mut values = vec![EVIL, "{}", "null", " ", "x", "\u{e9}", r#"{"sub":"bob"}"#];
            if before.is_some() {
                // Not even to what it is: that would prolong or revive an identity.
                values.push(&own);
            }
            for attack in values.iter().flat_map(|value| attacks(value)) {
                refused_as_direct(&mut client, &attack);
                run(&mut client, "ROLLBACK");
                assert_eq!(
                    value::<Option<String>>(&mut client, "SELECT auth.user_id()").as_deref(),
                    before,
                    "{attack}"
                );
            }
        }
    }
}

#[test]
fn superusers_cannot_set_it_for_databases_or_the_server() {
    let name = database("forgery_alter");
    let mut client = server().connect("postgres", name);
    run(&mut client, "SELECT auth.init()");
    for statement in [
        format!("ALTER DATABASE {name} SET pg_jwks.session = '{EVIL}'"),
        format!("ALTER ROLE ALL SET pg_jwks.session = '{EVIL}'"),
        format!("ALTER ROLE app IN DATABASE {name} SET pg_jwks.session = '{EVIL}'"),
    ] {
        refused_as_direct(&mut client, &statement);
    }
    let error = refused(&mut client, &format!("ALTER SYSTEM SET pg_jwks.session = '{EVIL}'"));
    assert_eq!(error.sqlstate, "55P02", "{error:?}");
    init(&mut client, "alice");
    for scope in [format!("DATABASE {name}"), "ROLE app".into()] {
        refused_as_direct(&mut client, &format!("ALTER {scope} SET pg_jwks.session FROM CURRENT"));
    }
}

#[test]
fn an_empty_value_is_no_identity_and_no_error() {
    let mut client = session();
    for statement in [
        "SET pg_jwks.session = ''",
        "SET pg_jwks.session TO DEFAULT",
        "RESET pg_jwks.session",
        "SELECT set_config('pg_jwks.session', '', false)",
        "SELECT set_config('pg_jwks.session', NULL, false)",
    ] {
        init(&mut client, "alice");
        run(&mut client, statement);
        assert_eq!(identity(&mut client), None, "{statement}");
    }
}

/// A library that is not loaded cannot refuse: PostgreSQL keeps such a value as it came until the library is.
#[test]
fn a_forged_value_set_before_the_library_is_loaded_is_dropped() {
    for set in [
        format!("SET pg_jwks.session = '{EVIL}'"),
        format!("SELECT set_config('pg_jwks.session', '{EVIL}', false)"),
        format!("SELECT set_config('PG_JWKS.Session', '{EVIL}', false)"),
        format!("BEGIN; SET pg_jwks.session = '{EVIL}'; COMMIT"),
        format!("BEGIN; SET LOCAL pg_jwks.session = '{EVIL}'"),
        format!("BEGIN; SET pg_jwks.session = '{EVIL}'; SAVEPOINT s; SET LOCAL pg_jwks.session = '{EVIL}'"),
        format!("SET pg_jwks.session = '{EVIL}'; BEGIN; SET LOCAL pg_jwks.session = 'x'; SAVEPOINT s; RESET ALL"),
    ] {
        for first in [
            "SELECT auth.user_id()",
            "SELECT auth.jwt() ->> 'sub'",
            "SELECT auth.claim('sub')",
            "SELECT nullif(auth.has_role('admin')::text, 'false')",
            "SELECT owner FROM note UNION ALL SELECT NULL LIMIT 1",
        ] {
            let mut client = session();
            run(&mut client, &set);
            let forged: String = value(&mut client, "SELECT coalesce(current_setting('pg_jwks.session'), '')");
            assert!(forged == EVIL || set.contains("RESET"), "the attack did not even begin: {forged}");
            assert_eq!(value::<Option<String>>(&mut client, first), None, "{set}; {first}");
            assert_eq!(identity(&mut client), None, "{set}; {first}");
            for end in ["ROLLBACK TO s", "COMMIT", "RESET ALL"] {
                // Some of these are errors where no transaction is open.
                let _ = client.batch_execute(end);
                if client.batch_execute("SELECT 1").is_err() {
                    run(&mut client, "ROLLBACK");
                }
                assert_eq!(identity(&mut client), None, "{set}; {first}; {end}");
            }
        }
    }
}

#[test]
fn a_forged_value_does_not_come_back_from_under_a_real_identity() {
    for end in ["SELECT auth.jwt_session_clear()", "ROLLBACK", "ROLLBACK TO s", "RESET pg_jwks.session", "COMMIT"] {
        let mut client = session();
        run(
            &mut client,
            &format!("SET pg_jwks.session = '{EVIL}'; BEGIN; SET LOCAL pg_jwks.session = '{EVIL}'; SAVEPOINT s"),
        );
        run(&mut client, &local_init_statement(&token("alice")));
        assert_eq!(identity(&mut client).as_deref(), Some("alice"));
        run(&mut client, end);
        assert_eq!(identity(&mut client), None, "{end}");
        let _ = client.batch_execute("COMMIT");
        assert_eq!(identity(&mut client), None, "{end}");
    }
}

#[test]
fn a_forged_value_in_the_connection_options_is_dropped() {
    for option in ["-c pg_jwks.session", "-c PG_JWKS.SESSION", "--pg-jwks.session"] {
        let mut config = server().config();
        config.user("app").dbname("app").options(&format!("{option}={EVIL}"));
        let mut client = server().try_connect(&mut config).expect("a connection");
        assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.session"), EVIL, "the attack did not even begin");
        assert_eq!(identity(&mut client), None, "{option}");
        run(&mut client, "RESET ALL");
        assert_eq!(identity(&mut client), None, "{option}");
    }
}

/// Only a superuser can plant such a value, and only while the library is not loaded; it helps nobody.
#[test]
fn a_forged_value_in_the_settings_of_a_database_is_dropped() {
    let name = database("forgery_planted");
    run(&mut superuser(), &format!("ALTER DATABASE {name} SET pg_jwks.session = '{EVIL}'"));
    let mut client = server().connect("app", name);
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.session"), EVIL, "the attack did not even begin");
    run(&mut client, PARALLEL);
    assert_eq!(identity(&mut client), None);
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
    init(&mut client, "alice");
    assert_eq!(rows_for_workers(&mut client, "big"), 10_000);
    run(&mut client, "DISCARD ALL");
    assert_eq!(identity(&mut client), None);
    run(&mut client, PARALLEL);
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
}

/// The leader has the forged value and no library; its workers load the library.
#[test]
fn workers_that_load_the_library_first_drop_a_forged_value() {
    let name = database("forgery_in_worker");
    let mut owner = server().connect("postgres", name);
    run(
        &mut owner,
        "CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS 'BEGIN RETURN auth.user_id(); END';
         CREATE TABLE open_to_all AS SELECT * FROM big; GRANT ALL ON open_to_all TO PUBLIC",
    );
    let mut client = server().connect("app", name);
    run(&mut client, PARALLEL);
    run(&mut client, &format!("SET pg_jwks.session = '{EVIL}'; SET jit = off"));
    let query = "SELECT count(who()) FROM open_to_all";
    let plan: String = client
        .query(&format!("EXPLAIN {query}"), &[])
        .expect("a plan")
        .iter()
        .map(|row| row.get::<_, String>(0))
        .collect();
    assert!(plan.contains("Gather"), "{plan}");
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.session"), EVIL, "the attack did not even begin");
    match client.query_one(query, &[]) {
        Ok(row) => assert_eq!(row.get::<_, i64>(0), 0),
        // PostgreSQL lets no worker change a setting, the forged one included.
        Err(error) => assert_eq!(pg_error(&error).sqlstate, "25000", "{error:?}"),
    }
    assert_eq!(identity(&mut client), None);
}

/// A library that is loaded from the start refuses at once.
#[test]
fn a_preloaded_library_refuses_a_forged_value_wherever_it_is() {
    let log = PRELOADED.log();
    assert!(
        log.contains("parameter \"pg_jwks.session\" cannot be set directly"),
        "the value of postgresql.conf: {log}"
    );
    let mut config = PRELOADED.config();
    config.user("app").dbname("app").options("-c pg_jwks.session={\"sub\":\"bob\"}");
    let error = PRELOADED.try_connect(&mut config).err().expect("the connection is refused");
    assert_eq!(pg_error(&error).sqlstate, "42501", "{error:?}");
    let mut owner = PRELOADED.connect("postgres", "app");
    for scope in ["ROLE app", "DATABASE app", "ROLE ALL", "ROLE app IN DATABASE app"] {
        refused_as_direct(&mut owner, &format!("ALTER {scope} SET pg_jwks.session = '{EVIL}'"));
    }
    let mut client = PRELOADED.connect("app", "app");
    run(&mut client, PARALLEL);
    assert_eq!(value::<String>(&mut client, "SHOW pg_jwks.session"), "");
    assert_eq!(rows_for_workers(&mut client, "big"), 0);
    assert_eq!(identity(&mut client), None);
    for attack in attacks(EVIL) {
        refused_as_direct(&mut client, &attack);
        run(&mut client, "ROLLBACK");
    }
    init(&mut client, "alice");
    PRELOADED.reload();
    run(&mut client, "SELECT pg_sleep(0.2)");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    run(&mut client, "DISCARD ALL");
    assert_eq!(identity(&mut client), None);
}

/// Only a superuser can make such a function, and only while the library is not loaded; calling it helps nobody.
#[test]
fn a_function_cannot_bring_an_identity() {
    let name = database("forgery_function");
    let function = |clause: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION public.f() RETURNS text LANGUAGE plpgsql {clause} AS
                'BEGIN RETURN auth.user_id(); END'"
        )
    };
    let forge = format!("SET pg_jwks.session = '{EVIL}'");
    for made in [
        function(&forge),
        format!("{forge}; {}", function("SET pg_jwks.session FROM CURRENT")),
        format!("{forge}; {}", function("SECURITY DEFINER SET pg_jwks.session FROM CURRENT")),
        format!("{}; ALTER FUNCTION public.f() {forge}", function("")),
    ] {
        let error = refused(&mut server().connect("app", name), &made);
        assert_eq!(error.sqlstate, "42501", "{made}");
        let mut maker = server().connect("postgres", name);
        run(&mut maker, "DROP FUNCTION IF EXISTS public.f()");
        run(&mut maker, &made);
        for loaded in [false, true] {
            let mut client = server().connect("app", name);
            if loaded {
                init(&mut client, "alice");
            }
            match client.query_one("SELECT public.f()", &[]) {
                Ok(row) => assert_eq!((loaded, row.get::<_, Option<String>>(0)), (false, None), "{made}"),
                Err(error) => assert_eq!(pg_error(&error).sqlstate, "42501", "{made}"),
            }
            assert_eq!(identity(&mut client).as_deref(), loaded.then_some("alice"), "{made}");
        }
    }
}

#[test]
fn a_function_cannot_keep_another_users_identity() {
    let name = database("forgery_from_current");
    let mut alice = server().connect("app", name);
    init(&mut alice, "alice");
    for clause in ["SET pg_jwks.session FROM CURRENT", "SECURITY DEFINER SET pg_jwks.session FROM CURRENT"] {
        refused_as_direct(
            &mut alice,
            &format!(
                "CREATE FUNCTION public.f() RETURNS text LANGUAGE plpgsql {clause} AS 'BEGIN RETURN auth.user_id(); END'"
            ),
        );
    }
    // What a function without identity looks like is no secret.
    run(
        &mut alice,
        "CREATE FUNCTION public.f() RETURNS text LANGUAGE plpgsql SET pg_jwks.session = '' AS 'BEGIN RETURN auth.user_id(); END'",
    );
    assert_eq!(value::<Option<String>>(&mut alice, "SELECT public.f()"), None);
    assert_eq!(identity(&mut alice).as_deref(), Some("alice"));
    refused_as_direct(&mut alice, "ALTER FUNCTION public.f() SET pg_jwks.session FROM CURRENT");
}

#[test]
fn a_security_definer_function_sees_its_callers_identity_and_cannot_forge_one() {
    let name = database("forgery_definer");
    let mut owner = server().connect("postgres", name);
    run(
        &mut owner,
        "CREATE FUNCTION public.who() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT auth.user_id()';
         CREATE FUNCTION public.forge(claims text) RETURNS text LANGUAGE sql SECURITY DEFINER AS
            'SELECT set_config(''pg_jwks.session'', claims, false)'",
    );
    let mut client = server().connect("app", name);
    assert_eq!(value::<Option<String>>(&mut client, "SELECT public.who()"), None);
    for sub in ["alice", "bob"] {
        init(&mut client, sub);
        assert_eq!(value::<Option<String>>(&mut client, "SELECT public.who()").as_deref(), Some(sub));
        refused_as_direct(&mut client, &format!("SELECT public.forge('{EVIL}')"));
        assert_eq!(identity(&mut client).as_deref(), Some(sub));
    }
    // The placeholder was set by the caller, the library is loaded by the function of a superuser.
    let mut fresh = server().connect("app", name);
    run(&mut fresh, &format!("SET pg_jwks.session = '{EVIL}'"));
    assert_eq!(value::<Option<String>>(&mut fresh, "SELECT public.who()"), None);
    assert_eq!(identity(&mut fresh), None);
}

#[test]
fn the_identity_belongs_to_the_session_and_not_to_its_role() {
    let name = database("forgery_roles");
    let mut owner = server().connect("postgres", name);
    run(&mut owner, "GRANT other TO app");
    let mut client = server().connect("app", name);
    init(&mut client, "alice");
    for role in ["SET ROLE other", "RESET ROLE", "SET ROLE none"] {
        run(&mut client, role);
        assert_eq!(identity(&mut client).as_deref(), Some("alice"), "{role}");
        refused_as_direct(&mut client, &format!("SET pg_jwks.session = '{EVIL}'"));
    }
    init(&mut owner, "carol");
    for authorization in ["SET SESSION AUTHORIZATION app", "SET SESSION AUTHORIZATION other"] {
        run(&mut owner, authorization);
        assert_eq!(identity(&mut owner).as_deref(), Some("carol"), "{authorization}");
        refused_as_direct(&mut owner, &format!("SET pg_jwks.session = '{EVIL}'"));
        refused_as_direct(&mut owner, &format!("SET LOCAL pg_jwks.session = '{EVIL}'"));
    }
    run(&mut owner, "RESET SESSION AUTHORIZATION");
    run(&mut owner, "REVOKE other FROM app");
    refused_as_direct(&mut owner, &format!("SET pg_jwks.session = '{EVIL}'"));
    assert_eq!(value::<String>(&mut owner, "SELECT auth.user_id()"), "carol");
}

#[test]
fn the_setting_is_not_listed() {
    let mut client = session();
    init(&mut client, "alice");
    let listed = "SELECT count(*) FROM pg_settings WHERE name = 'pg_jwks.session'";
    assert_eq!(value::<i64>(&mut client, listed), 0);
    let set = format!("UPDATE pg_settings SET setting = '{EVIL}' WHERE name = 'pg_jwks.session'");
    assert_eq!(client.execute(&set, &[]).expect("an update of nothing"), 0);
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
}
