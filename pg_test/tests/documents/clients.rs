//! What the documents show of clients is what the tests of the clients run.

use std::fs;

use pg_test::documents::{Page, repository};

/// The lines between each two marks of a document.
fn quoted(file: &str, document: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (from, to) = (format!("{document}: from here"), format!("{document}: to here"));
    let mut parts: Vec<Vec<&str>> = Vec::new();
    let mut is_quoted = false;
    for line in text.lines() {
        if line.contains(&to) {
            is_quoted = false;
        } else if line.contains(&from) {
            is_quoted = true;
            parts.push(Vec::new());
        } else if let (true, Some(part)) = (is_quoted, parts.last_mut()) {
            part.push(line);
        }
    }
    assert!(!parts.is_empty(), "{file} marks nothing");
    parts.iter().map(|part| outdented(part)).collect()
}

/// Without the white space that all lines begin with.
fn outdented(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(common..).unwrap_or_default().to_owned() + "\n").collect()
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
        let quoted = quoted(&format!("pg_test/clients/{file}"), "docs/poolers.md");
        assert_eq!(page.blocks(heading, language), quoted, "{file}");
    }
    let page = Page::of_repository("docs/login.md");
    for (language, file) in [("python", "password.py"), ("js", "password.mjs"), ("java", "Password.java")] {
        let quoted = quoted(&format!("pg_test/clients/{file}"), "docs/login.md");
        assert_eq!(page.blocks("Drivers", language), quoted, "{file}");
    }
}
