//! Installing, removing, dumping and restoring.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::{accepted, refused, token};
use pg_test::process::run;
use pg_test::sql;
use postgres::Client;

use crate::cases::{ISS, KEY};

/// A database of a role that is no superuser.
fn database(name: &str) -> (App<'static>, Client) {
    let owner = App::plain(&NOT_PRELOADED, &[]);
    let create = format!("CREATE DATABASE {name} OWNER {}", owner.role());
    NOT_PRELOADED.client().batch_execute(&create).expect("CREATE DATABASE");
    let client = NOT_PRELOADED.connect(owner.role(), name);
    (owner, client)
}

/// In schema auth.
const FUNCTIONS: i64 = 39;

fn functions(client: &mut Client) -> i64 {
    let query = "SELECT count(*) FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'auth'";
    client.query_one(query, &[]).expect("pg_proc").get(0)
}

#[test]
fn an_owner_of_a_database_can_install_and_remove_it() {
    let (_owner, mut client) = database("owned");
    client.batch_execute("CREATE EXTENSION pg_jwks").expect("a trusted extension");
    assert_eq!(functions(&mut client), FUNCTIONS);
    let id: Option<String> = client.query_one("SELECT auth.user_id()", &[]).expect("callable").get(0);
    assert_eq!(id, None);
    client.batch_execute("DROP EXTENSION pg_jwks").expect("its owner may");
    assert_eq!(functions(&mut client), 0);
    client.batch_execute("CREATE EXTENSION pg_jwks; DROP SCHEMA auth CASCADE").expect("once more");
    assert_eq!(functions(&mut client), 0);
    let mut plain = NOT_PRELOADED.connect(App::plain(&NOT_PRELOADED, &[]).role(), "owned");
    assert_eq!(sql::refused(&mut plain, "CREATE EXTENSION pg_jwks").sqlstate, "42501");
}

#[test]
fn it_stays_in_its_schema() {
    let (_owner, mut client) = database("schemas");
    assert_eq!(sql::refused(&mut client, "CREATE EXTENSION pg_jwks SCHEMA public").sqlstate, "0A000");
    client.batch_execute("CREATE EXTENSION pg_jwks").expect("CREATE EXTENSION");
    assert_eq!(sql::refused(&mut client, "ALTER EXTENSION pg_jwks SET SCHEMA public").sqlstate, "0A000");
}

#[test]
fn a_function_that_somebody_else_made_stops_the_installation() {
    for (database_name, function) in [
        ("taken_reader", "auth.user_id() RETURNS text LANGUAGE sql AS $$SELECT 'mallory'$$"),
        ("taken_tenant", "public.get_current_user_tenant_id() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'"),
        ("taken_last", "auth.jwt_explain(text) RETURNS text LANGUAGE sql AS $$SELECT 'mallory'$$"),
    ] {
        let (_owner, mut client) = database(database_name);
        client.batch_execute(&format!("CREATE SCHEMA auth; CREATE FUNCTION {function}")).expect("a function");
        let error = sql::refused(&mut client, "CREATE EXTENSION pg_jwks");
        assert_eq!(error.sqlstate, "42723", "{error:?}");
        let names_script = error.hint.is_some_and(|hint| hint.contains("from_supabase/replace_functions.sql"));
        assert_eq!(names_script, database_name == "taken_reader", "{}", error.message);
        let own = i64::from(function.starts_with("auth."));
        assert_eq!(functions(&mut client), own, "nothing of the extension is left");
        let query = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_jwks'";
        assert_eq!(client.query_one(query, &[]).expect("pg_extension").get::<_, i64>(0), 0);
        let name = function.split('(').next().expect("a name");
        client.batch_execute(&format!("DROP FUNCTION {name}; CREATE EXTENSION pg_jwks")).expect("free now");
    }
}

#[test]
fn it_needs_plpgsql() {
    let (_owner, mut client) = database("no_plpgsql");
    NOT_PRELOADED.connect("postgres", "no_plpgsql").batch_execute("DROP EXTENSION plpgsql").expect("nothing uses it");
    let error = sql::refused(&mut client, "CREATE EXTENSION pg_jwks");
    assert_eq!((&*error.sqlstate, &*error.message), ("42704", "required extension \"plpgsql\" is not installed"));
    client.batch_execute("CREATE EXTENSION pg_jwks CASCADE").expect("both are trusted");
    assert_eq!(sql::refused(&mut client, "DROP EXTENSION plpgsql").sqlstate, "2BP01");
}

#[test]
fn it_is_not_removed_while_policies_use_it() {
    let (_owner, mut client) = database("in_use");
    let schema = "CREATE EXTENSION pg_jwks; CREATE TABLE t (owner text);
                  CREATE POLICY p ON t USING (owner = auth.user_id())";
    client.batch_execute(schema).expect("schema");
    for statement in ["DROP EXTENSION pg_jwks", "DROP SCHEMA auth", "DROP FUNCTION auth.user_id()"] {
        assert_eq!(sql::refused(&mut client, statement).sqlstate, "2BP01", "{statement}");
    }
}

#[test]
fn a_dump_restores_extension_and_policies() {
    let (_owner, mut client) = database("dumped");
    let schema = "
        CREATE EXTENSION pg_jwks;
        CREATE TABLE note (owner text NOT NULL DEFAULT auth.user_id());
        INSERT INTO note VALUES ('alice'), ('bob');
        ALTER TABLE note ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own_notes ON note USING (owner = auth.user_id());
        GRANT SELECT ON note TO PUBLIC;";
    client.batch_execute(schema).expect("schema");
    let dump = NOT_PRELOADED.socket_dir().join("dumped.dump");
    run(NOT_PRELOADED.program("pg_dump").args(["--format=custom", "--file"]).arg(&dump).arg("dumped"));
    NOT_PRELOADED.client().batch_execute("CREATE DATABASE restored").expect("CREATE DATABASE");
    run(NOT_PRELOADED.program("pg_restore").args(["--exit-on-error", "--dbname=restored"]).arg(&dump));

    let reader = App::plain(&NOT_PRELOADED, &[("issuer", ISS), ("jwks", &pg_test::jwks(&[&KEY]).to_string())]);
    let mut client = NOT_PRELOADED.connect(reader.role(), "restored");
    accepted(&mut client, &token(&KEY, ISS));
    let stranger = pg_test::SigningKey::generate(pg_test::Alg::Es256, "k");
    refused(&mut client, &token(&stranger, ISS), "28000", "signature invalid", "");
    assert_eq!(functions(&mut client), FUNCTIONS);
}
