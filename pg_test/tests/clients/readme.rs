//! What the README shows of clients is what the tests run.

use std::fs;

fn text(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines between the two marks.
fn snippet(file: &str) -> String {
    let text = text(file);
    let marked: Vec<_> = text
        .lines()
        .skip_while(|line| !line.contains("README: from here"))
        .skip(1)
        .take_while(|line| !line.contains("README: to here"))
        .collect();
    assert!(!marked.is_empty(), "{file} marks nothing");
    marked.join("\n") + "\n"
}

#[test]
fn the_readme_quotes_the_clients_that_are_tested() {
    let readme = text("README.md");
    for file in ["psql.sh", "psql-15.sh", "psycopg_notes.py", "node.mjs", "tokio.rs", "recipes.sql"] {
        let snippet = snippet(&format!("pg_test/clients/{file}"));
        assert!(readme.contains(&snippet), "README.md does not quote pg_test/clients/{file}:\n{snippet}");
    }
}
