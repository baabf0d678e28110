//! The documents that `make package` ships.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pg_test::documents::{Page, pages, repository};

/// A copy of the documents and of what ships them, with files of a user's own among the examples.
fn checkout(folder: &Path) {
    let mut copy = Command::new("cp");
    let parts = ["Makefile", "pg_jwks.control", "README.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "docs"];
    copy.arg("-r").args(parts.map(|part| repository().join(part))).arg(repository().join("rls_examples")).arg(folder);
    assert!(copy.status().expect("cp").success());
    for path in [
        "self_signed_api/node_modules/hono/README.md",
        "self_signed_api/keys/1.json",
        "self_signed_api/dist/app.js",
        "psql_login/dist/main.js",
    ] {
        let path = folder.join("rls_examples").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, "[broken](nowhere.md)").expect("a file");
    }
}

fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mode = path.symlink_metadata().expect("its mode").permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o755, "{}", path.display());
            files(&path, found);
        } else {
            assert_eq!(mode, 0o644, "{}", path.display());
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

#[test]
fn the_package_has_all_documents_and_their_links_resolve() {
    let temporary = tempfile::tempdir().expect("a folder");
    let (here, package) = (temporary.path().join("here"), temporary.path().join("package/share/doc/pg_jwks"));
    fs::create_dir(&here).expect("a folder");
    checkout(&here);
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "documents"]).arg(format!("FOLDER={}", package.display())).current_dir(&here);
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    let output = make.output().expect("make");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(pages(&package), pages(&repository()));
    for page in pages(&package) {
        assert_eq!(Page::read(&package, &page).broken_links(&package).0, [""; 0]);
    }
    let mut shipped = Vec::new();
    files(&package, &mut shipped);
    for path in [
        "LICENSE",
        "docs/design.md",
        "rls_examples/views.sql",
        "rls_examples/self_signed_api/src/app.ts",
        "docs/pam.d/pg_jwks",
    ] {
        assert!(shipped.iter().any(|file| Path::new(file) == package.join(path)), "{path} is missing");
    }
    for own in ["node_modules", "/keys/", "/dist/"] {
        assert!(!shipped.iter().any(|file| file.contains(own)), "{shipped:?}");
    }
}
