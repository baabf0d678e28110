//! Every link inside the documents leads somewhere, and the front page is one.

use std::fs;

use pg_test::documents::{Page, pages, repository};

#[test]
fn every_link_resolves() {
    let root = repository();
    let mut links = 0;
    for page in pages(&root) {
        let (broken, count) = Page::read(&root, &page).broken_links(&root);
        assert_eq!(broken, [""; 0]);
        links += count;
    }
    assert!(links > 100, "only {links} links were found");
}

#[test]
fn broken_links_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("docs")).expect("a folder");
    let write = |path: &str, text: &str| fs::write(root.join(path), text).expect("a page");
    write("../outside.md", "");
    write("LICENSE", "");
    write("README.md", "# Start\n[a](docs/a.md) [b](docs/a.md#one-two-1) [c](#start) [d](https://example.com/x)");
    write(
        "docs/a.md",
        "# `One`, two!\n# One two\n[a](../README.md) [b](../LICENSE) [c](#one-two)\n`[no](link)`\n```\n[no](link)\n```\n\
         [bad](b.md) [bad](../outside.md) [bad](../../outside.md) [bad](#three)\n[bad](../README.md#end) [bad](../LICENSE#start)\n\
         <img src=\"picture.svg\"> <a href=\"#four\">bad</a>\n[name]: bad.md",
    );
    assert_eq!(Page::read(&root, "README.md").broken_links(&root), (vec![], 3));
    let (broken, count) = Page::read(&root, "docs/a.md").broken_links(&root);
    let expected = [
        "b.md",
        "../outside.md",
        "../../outside.md",
        "#three",
        "../README.md#end",
        "../LICENSE#start",
        "#four",
        "picture.svg",
        "bad.md",
    ];
    let mut broken: Vec<_> = broken.iter().map(|link| link.strip_prefix("docs/a.md: ").expect("its page")).collect();
    let mut expected = expected.to_vec();
    broken.sort_unstable();
    expected.sort_unstable();
    assert_eq!((broken, count), (expected, 12));
}

#[test]
fn the_readme_is_a_front_page_that_leads_to_all_others() {
    let readme = Page::of_repository("README.md").text();
    assert!(readme.lines().count() <= 200, "{} lines", readme.lines().count());
    for page in pages(&repository()).iter().filter(|page| *page != "README.md") {
        assert!(readme.contains(&format!("]({page}")), "README.md does not lead to {page}");
    }
}
