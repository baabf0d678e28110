//! What the documents name exists: functions of the extension, its settings, its version, tests.

use std::fs;
use std::path::Path;

use pg_test::documents::{Page, pages, repository};

use crate::server::{session, strings};

/// The words after each `start`, with what follows them.
fn after<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.match_indices(start).map(move |(at, _)| {
        let rest = &text[at + start.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.split_at(end)
    })
}

#[test]
fn the_functions_and_settings_in_the_documents_exist() {
    let mut client = session();
    let functions = strings(&mut client, "SELECT proname FROM pg_proc WHERE pronamespace = 'auth'::regnamespace");
    let settings =
        strings(&mut client, "SELECT substr(name, 9) FROM pg_settings WHERE name LIKE 'pg\\_jwks.%' ORDER BY name");
    // The guarded ones, which are not listed, and files.
    let others = ["session", "tenant", "conf", "control", "so"];
    let mut named = 0;
    for page in pages(&repository()) {
        let text = Page::of_repository(&page).text();
        for (name, _) in after(&text, "auth.").filter(|(_, rest)| rest.starts_with('(')) {
            assert!(functions.iter().any(|function| function == name), "{page} names auth.{name}()");
            named += 1;
        }
        for (name, _) in after(&text, "pg_jwks.").filter(|(name, _)| !name.is_empty()) {
            let exists = settings.iter().any(|setting| setting == name) || others.contains(&name);
            assert!(exists, "{page} names pg_jwks.{name}");
            named += 1;
        }
    }
    assert!(named > 200, "only {named} names were found");
}

#[test]
fn the_version_in_the_documents_is_that_of_the_extension() {
    let query = "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_jwks'";
    let version = strings(&mut session(), query).remove(0);
    let readme = Page::of_repository("README.md").text();
    assert!(readme.contains(&format!("\npg_jwks {version} ")), "README.md does not name version {version}");
    let changelog = Page::of_repository("CHANGELOG.md").text();
    let newest = changelog.lines().find_map(|line| line.strip_prefix("## ")).expect("a version");
    assert_eq!(newest.split(' ').next(), Some(&*version), "CHANGELOG.md begins with another version");
}

#[test]
fn names_are_found() {
    let text = "`auth.claim('a')` and auth.users, auth.jwt(), pg_jwks.jwks_uri = x, `pg_jwks.`";
    assert_eq!(after(text, "auth.").map(|(name, _)| name).collect::<Vec<_>>(), ["claim", "users", "jwt"]);
    assert_eq!(after(text, "pg_jwks.").map(|(name, _)| name).collect::<Vec<_>>(), ["jwks_uri", ""]);
}

/// The tests that a page names in its tables, as `core: name` or `binary::module::name`.
fn named_tests(page: &str) -> Vec<String> {
    let page = Page::of_repository(page).text();
    let cells = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next());
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let is_test = |name: &String| name.starts_with("core: ") || name.matches("::").count() == 2;
    cells.flat_map(quoted).filter(is_test).collect()
}

/// The sources in a folder, all of them.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all += &fs::read_to_string(&path).expect("a source");
        }
    }
    all
}

#[test]
fn the_tests_that_the_design_names_exist() {
    let root = repository();
    let core = sources(&root.join("src/core/src")) + &sources(&root.join("src/core/tests"));
    let named = named_tests("docs/design.md");
    assert!(named.len() > 60, "{named:?}");
    for test in named {
        let (text, function) = match test.strip_prefix("core: ") {
            Some(function) => (core.clone(), function),
            None => {
                let (binary, rest) = test.split_once("::").expect("a binary");
                let (module, function) = rest.split_once("::").expect("a module");
                let folder = root.join("pg_test/tests").join(binary);
                let file = folder.join(module).with_extension("rs");
                (
                    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{test}: {}: {error}", file.display())),
                    function,
                )
            }
        };
        assert!(text.contains(&format!("fn {function}(")), "{test} does not exist");
    }
}
