//! The tables of the reference are those of the server and of the core.

use std::fmt::Debug;

use pg_jwks_core::rejection::{Check, Class, Reason};
use pg_test::documents::{Page, repository};
use postgres::Client;

use crate::server::{session, strings};

fn reference() -> Page {
    Page::of_repository("docs/reference.md")
}

/// A cell without its backquotes.
#[track_caller]
fn code(cell: &str) -> String {
    let code = cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    code.unwrap_or_else(|| panic!("{cell} is not in backquotes")).to_owned()
}

/// Asserts that the same things are documented as there are, in any order.
#[track_caller]
fn same<T: Ord + Debug>(documented: impl Iterator<Item = T>, there: impl Iterator<Item = T>) {
    let (documented, there): (Vec<T>, Vec<T>) = (documented.collect(), there.collect());
    let not_there: Vec<_> = documented.iter().filter(|row| !there.contains(row)).collect();
    let not_documented: Vec<_> = there.iter().filter(|row| !documented.contains(row)).collect();
    assert!(not_there.is_empty(), "documented, but not there: {not_there:?}; there are also {not_documented:?}");
    assert!(not_documented.is_empty(), "not documented: {not_documented:?}");
    assert_eq!(documented.len(), there.len(), "something is documented twice");
}

#[test]
fn the_functions_are_those_that_the_extension_installs() {
    let query = "
        SELECT format('%I.%I', pronamespace::regnamespace, proname), pg_get_function_arguments(p.oid),
               pg_get_function_result(p.oid)
          FROM pg_proc p JOIN pg_depend d ON classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'
               JOIN pg_extension e ON refclassid = 'pg_extension'::regclass AND refobjid = e.oid
         WHERE extname = 'pg_jwks'";
    let installed = session().query(query, &[]).expect("pg_proc").into_iter().map(|row| {
        let (name, arguments, result): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let output = arguments.find("OUT ").unwrap_or(arguments.len());
        let arguments = arguments[..output].trim_end_matches(", ").replace("::name", "").replace("::text", "");
        let result = match result.as_str() {
            "SETOF record" => "rows".into(),
            "timestamp with time zone" => "`timestamptz`".into(),
            other => format!("`{other}`"),
        };
        (format!("{name}({arguments})"), result)
    });
    let documented = reference().table("Functions", "function");
    let documented = documented.iter().map(|row| (code(&row[0]), row[1].clone()));
    same(documented, installed);
}

#[test]
fn the_columns_are_those_that_functions_and_views_have() {
    let mut client = session();
    for relation in ["auth.jwks()", "auth.jwt_sessions", "auth.jwt_stats"] {
        let statement = client.prepare(&format!("SELECT * FROM {relation}")).expect(relation);
        let columns: Vec<_> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let documented = reference().table("Monitoring", &format!("column of `{relation}`"));
        let documented: Vec<_> = documented.iter().flat_map(|row| row[0].split(", ").map(code)).collect();
        assert_eq!(documented, columns, "{relation}");
    }
    // Those with few columns have them in their line.
    let functions = reference().table("Functions", "function");
    for function in ["auth.jwt_explain(", "auth.rls_lint(", "auth.jwt_counters("] {
        let argument = if function == "auth.jwt_explain(" { "''" } else { "" };
        let statement = client.prepare(&format!("SELECT * FROM {function}{argument})")).expect(function);
        let columns: Vec<_> = statement.columns().iter().map(|column| format!("`{}`", column.name())).collect();
        let row = functions.iter().find(|row| code(&row[0]).starts_with(function)).expect("its line");
        assert!(row[2].ends_with(&columns.join(", ")), "{function} has {columns:?}");
    }
}

/// Name and default as the server shows it, in a session that has set nothing.
fn defaults(client: &mut Client) -> Vec<(String, String)> {
    let query = "SELECT substr(name, 9), coalesce(current_setting(name), ''), source
                   FROM pg_settings WHERE name LIKE 'pg\\_jwks.%'";
    let rows = client.query(query, &[]).expect("pg_settings");
    assert!(rows.iter().all(|row| row.get::<_, String>(2) == "default"));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn the_settings_and_their_defaults_are_those_of_the_server() {
    let documented = reference().table("Settings", "`pg_jwks.`");
    let documented = documented.iter().map(|row| {
        let default = if row[1].is_empty() { String::new() } else { code(&row[1]) };
        (code(&row[0]), default)
    });
    same(documented, defaults(&mut session()).into_iter());
}

#[test]
fn the_values_of_a_setting_are_those_that_the_server_takes() {
    let documented = reference().table("Settings", "`pg_jwks.`");
    let query = "SELECT substr(name, 9) || ' ' || value FROM pg_settings, unnest(enumvals) AS value
                  WHERE name LIKE 'pg\\_jwks.%' AND value <> boot_val";
    let values = strings(&mut session(), query);
    assert!(values.len() > 4, "{values:?}");
    for (name, value) in values.iter().map(|line| line.split_once(' ').expect("a name and a value")) {
        let row = documented.iter().find(|row| row[0] == format!("`{name}`")).expect("the setting's line");
        assert!(row[2].contains(&format!("`{value}`")), "{name} can be {value}");
    }
}

#[test]
fn the_reasons_are_those_of_the_core() {
    let documented: Vec<_> = reference()
        .table("Rejected tokens", "reason")
        .iter()
        .map(|row| [code(&row[0]), row[1].clone(), code(&row[2])])
        .collect();
    let reasons = Reason::ALL.iter().map(|reason| {
        let sqlstate = match reason.class() {
            Class::Malformed => "22023",
            Class::Rejected => "28000",
            Class::Unavailable => "55000",
        };
        [reason.text().to_owned(), sqlstate.to_owned(), reason.check().name().to_owned()]
    });
    assert_eq!(documented, reasons.collect::<Vec<_>>());
}

#[test]
fn the_checks_are_those_of_the_core() {
    let documented: Vec<_> =
        reference().table("The checks of a token", "check").iter().map(|row| code(&row[0])).collect();
    assert_eq!(documented, Check::ALL.map(Check::name));
}

#[test]
fn the_rooms_of_the_design_are_those_of_the_sources() {
    let documented = Page::of_repository("docs/design.md").table("The rooms", "room");
    let documented = documented.iter().map(|row| code(&row[0]));
    let entries = std::fs::read_dir(repository().join("src")).expect("src");
    let rooms = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    let rooms = rooms.map(|path| format!("src/{}", path.file_name().expect("a name").to_string_lossy()));
    same(documented, rooms);
}

#[test]
fn the_reasons_of_refused_logins_are_of_the_core() {
    let login = Page::of_repository("docs/login.md").table("Refused logins", "what is refused");
    let named: Vec<_> = login.iter().filter_map(|row| row[1].strip_prefix('`')?.split('`').next()).collect();
    assert_eq!(named.len(), login.len() - 1, "all but the line that refers to the reference");
    for reason in named {
        assert!(Reason::ALL.iter().any(|known| known.text() == reason), "{reason}");
    }
}
