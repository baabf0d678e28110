//! The documents as their readers have them: code to run, tables, links and what links point to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the repository.
pub fn repository() -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    path.canonicalize().expect("the folder of the repository")
}

/// The pages below `root`, as paths from there: those of the top, of `docs`, and each README of the examples.
pub fn pages(root: &Path) -> Vec<String> {
    let mut pages: Vec<_> = ["README.md", "SECURITY.md", "CHANGELOG.md"].map(String::from).into();
    collect(root, "docs", &mut |name| name.ends_with(".md"), &mut pages);
    collect(root, "rls_examples", &mut |name| name == "README.md", &mut pages);
    pages
}

fn collect(root: &Path, folder: &str, wanted: &mut impl FnMut(&str) -> bool, pages: &mut Vec<String>) {
    let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("the name of a page is UTF-8"))
        .collect();
    names.sort();
    for name in names.iter().filter(|name| *name != "node_modules") {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            collect(root, &path, wanted, pages);
        } else if wanted(name) {
            pages.push(path);
        }
    }
}

/// A page of the documents, in Markdown.
pub struct Page {
    path: String,
    lines: Vec<Line>,
}

struct Line {
    text: String,
    kind: Kind,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// With the level of the heading.
    Heading(usize),
    /// The line that opens a block of code, or closes it.
    Fence,
    Code,
    Text,
}

impl Page {
    /// A page of the repository, by its path from there.
    pub fn of_repository(path: &str) -> Self {
        Self::read(&repository(), path)
    }

    /// A page by its path from `root`.
    pub fn read(root: &Path, path: &str) -> Self {
        let text = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut in_code = false;
        let lines = text.lines().map(|text| {
            let level = text.bytes().take_while(|byte| *byte == b'#').count();
            let kind = match text.trim_start().starts_with("```") {
                true => {
                    in_code = !in_code;
                    Kind::Fence
                }
                false if in_code => Kind::Code,
                false if level > 0 && text[level..].starts_with(' ') => Kind::Heading(level),
                false => Kind::Text,
            };
            Line { text: text.to_owned(), kind }
        });
        Self { path: path.to_owned(), lines: lines.collect() }
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// The lines of the section with this heading, with those of its subsections if they are asked for.
    #[track_caller]
    fn section(&self, heading: &str, with_subsections: bool) -> &[Line] {
        let is_it = |line: &Line| matches!(line.kind, Kind::Heading(level) if line.text[level..].trim() == heading);
        let start = self.lines.iter().position(is_it);
        let start = start.unwrap_or_else(|| panic!("{} has no section \"{heading}\"", self.path));
        let Kind::Heading(level) = self.lines[start].kind else { unreachable!("a heading") };
        let ends = |line: &Line| matches!(line.kind, Kind::Heading(other) if !with_subsections || other <= level);
        let length = self.lines[start + 1..].iter().position(ends).unwrap_or(self.lines.len() - start - 1);
        &self.lines[start + 1..=start + length]
    }

    /// The blocks of code in `language` of the section with this heading, without its subsections.
    #[track_caller]
    pub fn blocks(&self, heading: &str, language: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        // Every second fence closes a block.
        let parts = self.section(heading, false).split(|line| line.kind == Kind::Fence);
        let fences = self.section(heading, false).iter().filter(|line| line.kind == Kind::Fence).step_by(2);
        for (block, fence) in parts.skip(1).step_by(2).zip(fences) {
            let indentation = fence.text.len() - fence.text.trim_start().len();
            if fence.text.trim_start_matches([' ', '`']) == language {
                blocks.push(block.iter().map(|line| format!("{}\n", &line.text[indentation..])).collect());
            }
        }
        blocks
    }

    /// The lines of the tables with this first heading, in the section with its subsections: their cells.
    #[track_caller]
    pub fn table(&self, heading: &str, first_column: &str) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let mut wanted = None;
        for line in self.section(heading, true) {
            if line.kind != Kind::Text || !line.text.starts_with('|') {
                wanted = None;
                continue;
            }
            let cells = cells(&line.text);
            match wanted {
                None => wanted = Some(cells[0] == first_column),
                Some(true) if !cells[0].starts_with("---") => found.push(cells),
                Some(_) => {}
            }
        }
        assert!(!found.is_empty(), "{} has no table of \"{first_column}\" in \"{heading}\"", self.path);
        found
    }

    /// The headings of this level.
    pub fn headings(&self, level: usize) -> Vec<String> {
        let of_level = self.lines.iter().filter(|line| line.kind == Kind::Heading(level));
        of_level.map(|line| line.text[level..].trim().to_owned()).collect()
    }

    /// What links can name: each heading, as GitHub writes it.
    fn anchors(&self) -> BTreeSet<String> {
        let mut seen = BTreeMap::<String, u32>::new();
        let headings = self.lines.iter().filter_map(|line| match line.kind {
            Kind::Heading(level) => Some(anchor(line.text[level..].trim())),
            _ => None,
        });
        let numbered = headings.map(|anchor| {
            let count = seen.entry(anchor.clone()).and_modify(|count| *count += 1).or_default();
            if *count == 0 { anchor } else { format!("{anchor}-{count}") }
        });
        numbered.collect()
    }

    /// The targets of its links.
    fn links(&self) -> Vec<String> {
        let mut links = Vec::new();
        for line in self.lines.iter().filter(|line| matches!(line.kind, Kind::Text | Kind::Heading(_))) {
            let text = without_code(&line.text);
            for (start, end) in [("](", ')'), ("href=\"", '"'), ("src=\"", '"')] {
                let targets = text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default());
                links.extend(targets.map(str::to_owned));
            }
            if let Some((_, target)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
                links.push(target.trim().to_owned());
            }
        }
        links
    }

    /// Its links that lead nowhere below `root`, where its files are, and how many links it has into there.
    pub fn broken_links(&self, root: &Path) -> (Vec<String>, usize) {
        let folder = Path::new(&self.path).parent().expect("a page is in a folder");
        let links = self.links();
        let local: Vec<_> =
            links.iter().filter(|link| !link.starts_with("https://") && !link.starts_with("mailto:")).collect();
        let resolves = |link: &str| {
            let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { Path::new(&self.path).to_owned() } else { folder.join(path) };
            let root = root.canonicalize().expect("the folder of the documents");
            // A link that leaves the folder would work here by chance.
            let Ok(found) = root.join(&target).canonicalize() else { return false };
            let Ok(found) = found.strip_prefix(&root) else { return false };
            match (anchor, found.to_str()) {
                (None, _) => true,
                (Some(anchor), Some(page)) if page.ends_with(".md") => {
                    Self::read(&root, page).anchors().contains(anchor)
                }
                _ => false,
            }
        };
        let broken = local.iter().filter(|link| !resolves(link)).map(|link| format!("{}: {link}", self.path));
        (broken.collect(), local.len())
    }
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|');
    let line = line.strip_suffix('|').unwrap_or(line);
    line.replace("\\|", "\0").split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// A line without what stands between backquotes.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}
