//! Trust is not up to the user: only superusers, and those to whom they grant it, change settings.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::pg_error;
use postgres::Client;

/// A plain role's session that has loaded the library.
fn plain() -> Client {
    let mut client = App::plain(&NOT_PRELOADED, &[]).connect();
    client.batch_execute("SELECT auth.init()").expect("loads the library");
    client
}

/// The settings that a session can change, but for the one that is everybody's.
fn names() -> Vec<String> {
    let mut admin = NOT_PRELOADED.client();
    admin.batch_execute("LOAD 'pg_jwks'").expect("LOAD");
    let query = "SELECT name FROM pg_settings WHERE name LIKE 'pg\\_jwks.%' AND context IN ('user', 'superuser')
                     AND name <> 'pg_jwks.protect_isolation'";
    let names: Vec<String> =
        admin.query(query, &[]).expect("pg_settings").iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(names.len() > 15, "{names:?}");
    names
}

#[test]
fn plain_roles_change_no_setting() {
    let mut client = plain();
    let user: String = client.query_one("SELECT current_user", &[]).expect("SELECT").get(0);
    client.batch_execute("CREATE TEMP TABLE own ()").expect("a temporary schema");
    for name in names() {
        for statement in [
            format!("SET {name} = DEFAULT"),
            format!("SET {name} = '1'"),
            format!("SET LOCAL {name} = '1'"),
            format!("SELECT set_config('{name}', '1', false)"),
            format!("ALTER ROLE {user} SET {name} = '1'"),
            format!("ALTER ROLE {user} IN DATABASE postgres SET {name} = '1'"),
            format!("ALTER SYSTEM SET {name} = '1'"),
            format!("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET {name} = '1' AS 'SELECT 1'"),
        ] {
            let error = pg_error(&client.batch_execute(&statement).expect_err(&statement));
            assert_eq!(error.sqlstate, "42501", "{statement}: {error:?}");
        }
    }
}

#[test]
fn plain_roles_keep_no_setting_not_even_where_the_library_is_not_loaded() {
    let app = App::plain(&NOT_PRELOADED, &[]);
    let mut client = app.connect();
    for name in names() {
        let statement = format!("ALTER ROLE {} SET {name} = '1'", app.role());
        let error = pg_error(&client.batch_execute(&statement).expect_err(&statement));
        assert_eq!(error.sqlstate, "42501", "{statement}: {error:?}");
    }
}

#[test]
fn connections_of_plain_roles_bring_no_setting() {
    // Where the library is loaded later, what they bring is dropped: see configuration_files.
    let app = App::plain(&NOT_PRELOADED, &[]);
    // Some settings are hidden from others, and a value that nobody sees proves nothing.
    let grant = format!("GRANT pg_read_all_settings TO {}", app.role());
    NOT_PRELOADED.client().batch_execute(&grant).expect("GRANT");
    for name in names() {
        let mut config = NOT_PRELOADED.config();
        let options = format!("-c {name}=1");
        let mut client = NOT_PRELOADED.try_connect(config.user(app.role()).options(&options)).expect("a session");
        client.batch_execute("SELECT auth.init()").expect("loads the library");
        let query = "SELECT source, setting, coalesce(boot_val, '') FROM pg_settings WHERE name = $1";
        let row = client.query_one(query, &[&name]).expect("pg_settings");
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("default", row.get(2)), "{name}");
    }
}

#[test]
#[cfg_attr(before_pg15, ignore = "GRANT SET came with PostgreSQL 15")]
fn set_can_be_granted() {
    let app = App::plain(&NOT_PRELOADED, &[]);
    let mut admin = NOT_PRELOADED.client();
    let grant = format!("LOAD 'pg_jwks'; GRANT SET ON PARAMETER pg_jwks.audience TO {}", app.role());
    admin.batch_execute(&grant).expect("GRANT");
    let mut client = app.connect();
    client.batch_execute("SELECT auth.init(); SET pg_jwks.audience = 'mine'").expect("granted");
    let error = client.batch_execute("SET pg_jwks.issuer = 'mine'").expect_err("not granted");
    assert_eq!(pg_error(&error).sqlstate, "42501");
    let error = client.batch_execute("SET pg_jwks.audience = '*,mine'").expect_err("still checked");
    assert_eq!(pg_error(&error).sqlstate, "22023");
    admin.batch_execute(&grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")).expect("REVOKE");
}
