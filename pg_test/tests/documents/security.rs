//! What SECURITY.md says of owners, and of roles with GRANT SET.

use pg_test::documents::Page;
use pg_test::sql::refused;

use crate::server::{database_of, session, strings};

#[test]
fn an_owner_of_the_database_owns_its_schema_auth_but_neither_its_functions_nor_the_settings() {
    let mut owner = database_of("keeper", "kept");
    owner.batch_execute("CREATE EXTENSION pg_jwks").expect("a trusted extension");
    let owners = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'auth'";
    assert_eq!(strings(&mut owner, owners), ["keeper"]);
    owner.batch_execute("CREATE FUNCTION auth.has_role(name) RETURNS boolean RETURN true").expect("another function");
    for statement in [
        "CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION auth.user_id() VOLATILE",
        "ALTER DATABASE kept SET pg_jwks.issuer = 'own'",
        "ALTER ROLE keeper SET pg_jwks.issuer = 'own'",
        "ALTER ROLE keeper IN DATABASE kept SET pg_jwks.jwks = '{}'",
    ] {
        assert_eq!(refused(&mut owner, statement).sqlstate, "42501", "{statement}");
    }
}

#[test]
fn each_setting_that_can_be_granted_is_in_the_table_of_what_it_gives() {
    let table = Page::of_repository("SECURITY.md").table("A role with GRANT SET", "SET on");
    let mut documented: Vec<_> = table
        .iter()
        .flat_map(|row| row[0].split(", ").map(|name| format!("pg_jwks.{}", name.trim_matches('`'))))
        .collect();
    documented.sort_unstable();
    let query = "SELECT name FROM pg_settings WHERE name LIKE 'pg\\_jwks.%' AND context = 'superuser' ORDER BY name COLLATE \"C\"";
    assert_eq!(documented, strings(&mut session(), query));
}
