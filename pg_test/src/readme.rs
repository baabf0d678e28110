//! What the README tells its readers to run.

use std::fs;

/// The code blocks in `language` of the section with this heading, without its subsections.
pub fn blocks(heading: &str, language: &str) -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md");
    let section = readme.split(&format!("\n{heading}")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n##").next().expect("a section");
    // Every second fence closes a block.
    let inside = section.split("\n```").skip(1).step_by(2);
    inside.filter_map(|block| block.strip_prefix(&format!("{language}\n"))).map(str::to_owned).collect()
}
