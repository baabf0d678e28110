//! The templates as their README says to run them.

use std::fs;

use crate::server::{file, lint, run, started};
use crate::specs;

/// All in one database, by the superuser, on a server that knows no role `app`; then undone, and all again.
#[test]
fn all_run_in_one_database_and_are_undone() {
    let server = started();
    run(&mut server.client(), "CREATE DATABASE shop");
    let mut client = server.connect("postgres", "shop");
    for round in 0..2 {
        for template in specs::all() {
            let path = file(template.name);
            let output = server.run_sql_file("postgres", "shop", &path).unwrap_or_else(|output| panic!("{output}"));
            assert!(output.contains("row)") || output.contains("rows)"), "{} prints {output}", template.name);
            assert!(!output.contains("WARNING") && !output.contains("ERROR"), "{output}");
            let again = server.run_sql_file("postgres", "shop", &path).expect_err("a second run");
            assert!(again.contains(&format!("schema \"{}\" already exists", template.name)), "{again}");
            assert_eq!(again.matches("ERROR").count(), 1, "{again}");
        }
        assert!(lint(&mut client).is_empty(), "{:?}", lint(&mut client));
        run(&mut client, "ALTER VIEW views.open_task RESET (security_invoker)");
        assert!(matches!(&lint(&mut client)[..], [one] if one.contains("views.open_task")), "{:?}", lint(&mut client));
        for template in specs::all() {
            let text = fs::read_to_string(file(template.name)).expect("the file");
            let undo =
                text.lines().find_map(|line| line.strip_prefix("-- Undo: ")).expect("a line that says how to undo");
            run(&mut client, &undo.replace("DATABASE ...", "DATABASE shop"));
        }
        let left = "SELECT (SELECT count(*) FROM pg_policies) + (SELECT count(*) FROM pg_class WHERE relrowsecurity)
                         + (SELECT count(*) FROM pg_db_role_setting WHERE setconfig <> '{}')";
        assert_eq!(client.query_one(left, &[]).expect("the catalogue").get::<_, i64>(0), 0, "round {round}");
    }
}

/// Each file has its place in the README, and its promises here.
#[test]
fn each_file_is_documented_and_tested() {
    let folder = file("").parent().expect("a folder").to_owned();
    let readme = fs::read_to_string(folder.join("README.md")).expect("the README");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "sql") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            assert!(readme.contains(&format!("({name}.sql)")), "{name} is not in the README");
            names.push(name);
        }
    }
    names.sort();
    let mut tested: Vec<_> = specs::all().map(|template| template.name).collect();
    tested.sort_unstable();
    assert_eq!(names, tested);
}
