//! What the documents name exists: functions of the extension, its settings, its version.

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
