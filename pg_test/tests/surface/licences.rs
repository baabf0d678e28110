//! Everything that is linked into the extension, or builds it, may be given away with it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use pg_test::process::run;
use serde_json::Value;

const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "OpenSSL",
    "PostgreSQL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// An SPDX licence expression, read from left to right; AND binds closer than OR.
struct Expression<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Expression<'a> {
    /// Whether the expression leaves a choice that is allowed. `None` where it cannot be read.
    fn allows(text: &'a str) -> Option<bool> {
        let spaced: &'a str = text;
        let words = spaced
            .split_inclusive(['(', ')', ' ', '/'])
            .flat_map(|piece| {
                let end = piece.trim_end_matches(['(', ')', ' ', '/']);
                [end, piece[end.len()..].trim()]
            })
            .filter(|word| !word.is_empty())
            .collect();
        let mut expression = Self { words, at: 0 };
        let allowed = expression.any()?;
        (expression.at == expression.words.len()).then_some(allowed)
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let found = self.words.get(self.at).is_some_and(|word| words.contains(word));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Option<bool> {
        let mut allowed = self.all()?;
        // Old manifests have a slash for OR.
        while self.take(&["OR", "/"]) {
            allowed |= self.all()?;
        }
        Some(allowed)
    }

    fn all(&mut self) -> Option<bool> {
        let mut allowed = self.one()?;
        while self.take(&["AND"]) {
            allowed &= self.one()?;
        }
        Some(allowed)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take(&["("]) {
            let allowed = self.any()?;
            return self.take(&[")"]).then_some(allowed);
        }
        let name = *self.words.get(self.at)?;
        self.at += 1;
        // The one exception that is known here permits more.
        if self.take(&["WITH"]) && !self.take(&["LLVM-exception"]) {
            return None;
        }
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte));
        (is_name && !["AND", "OR", "WITH"].contains(&name)).then(|| ALLOWED.contains(&name))
    }
}

#[test]
fn licence_expressions_are_read() {
    for (text, expected) in [
        ("MIT", Some(true)),
        ("GPL-3.0-only", Some(false)),
        ("MIT OR GPL-3.0-only", Some(true)),
        ("MIT/Apache-2.0", Some(true)),
        ("MIT AND GPL-3.0-only", Some(false)),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true)),
        ("GPL-2.0-only OR (MIT AND (ISC OR AGPL-3.0-only))", Some(true)),
        ("GPL-2.0-only OR MIT AND AGPL-3.0-only", Some(false)),
        ("Apache-2.0 WITH LLVM-exception OR MIT", Some(true)),
        ("Apache-2.0 WITH Other-exception", None),
        ("(MIT", None),
        ("MIT MIT", None),
        ("MIT OR", None),
        ("", None),
    ] {
        assert_eq!(Expression::allows(text), expected, "{text}");
    }
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = run(Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--format-version=1", "--all-features", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")));
    serde_json::from_str(&metadata).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

#[test]
fn all_that_is_linked_may_be_given_away() {
    let metadata = metadata();
    let packages: BTreeMap<_, _> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<_, _> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let roots = packages.iter().filter(|(_, package)| ["pg_jwks", "pg_jwks_core"].contains(&text(&package["name"])));
    let mut pending: Vec<_> = roots.map(|(id, _)| *id).collect();
    assert_eq!(pending.len(), 2);
    let mut reached = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if reached.insert(id) {
            let not_for_tests =
                |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].as_str() != Some("dev"));
            pending.extend(list(&nodes[id]["deps"]).iter().filter(not_for_tests).map(|dep| text(&dep["pkg"])));
        }
    }
    let names: BTreeSet<_> = reached.iter().map(|id| text(&packages[id]["name"])).collect();
    for expected in ["pgrx", "ureq", "rustls", "aws-lc-sys", "serde_json"] {
        assert!(names.contains(expected), "{expected} is not found");
    }
    assert!(!names.contains("postgres"), "dependencies of the tests do not count");
    for id in reached {
        let package = packages[id];
        let licence = package["license"].as_str().unwrap_or_default();
        assert_eq!(Expression::allows(licence), Some(true), "{id}: licence {licence:?}");
    }
}
