//! What the documents show of clients is what the tests of the clients run.

use std::fs;

use pg_test::documents::{Page, repository};

/// The lines between the two marks.
fn quoted(file: &str) -> String {
    let text = fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let marked: Vec<_> = text
        .lines()
        .skip_while(|line| !line.contains("docs/poolers.md: from here"))
        .skip(1)
        .take_while(|line| !line.contains("docs/poolers.md: to here"))
        .collect();
    assert!(!marked.is_empty(), "{file} marks nothing");
    marked.join("\n") + "\n"
}

#[test]
fn the_documents_quote_the_clients_that_are_tested() {
    let page = Page::of_repository("docs/poolers.md");
    for (heading, language, file) in [
        ("psql 16 and later", "sh", "psql.sh"),
        ("psql 15", "sql", "psql-15.sh"),
        ("psycopg 3", "python", "psycopg_notes.py"),
        ("node-postgres", "js", "node.mjs"),
        ("tokio-postgres, and postgres with the same calls", "rust", "tokio.rs"),
    ] {
        assert_eq!(page.blocks(heading, language), [quoted(&format!("pg_test/clients/{file}"))], "{file}");
    }
}
