//! The templates as their README says to run them.

use std::fs;

use crate::attacks::set;
use crate::matrix::query;
use crate::server::{file, lint, run, sign_in, started};
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
            let results = output.matches("row)").count() + output.matches("rows)").count();
            assert!(results >= 2 && !output.contains("(0 rows)"), "{} prints {output}", template.name);
            assert!(!output.contains("WARNING") && !output.contains("ERROR"), "{output}");
            let again = server.run_sql_file("postgres", "shop", &path).expect_err("a second run");
            assert!(again.contains(&format!("schema \"{}\" already exists", template.name)), "{again}");
            assert!(again.contains("HINT:  To begin anew, run the line Undo above."), "{again}");
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

/// An owner who could not act as the application would find out at the last line.
#[test]
fn an_owner_who_is_no_member_of_app_is_told_before_anything_is_made() {
    let server = started();
    run(&mut server.client(), "CREATE ROLE proprietor LOGIN");
    run(&mut server.client(), "CREATE DATABASE shop OWNER proprietor");
    run(&mut server.connect("postgres", "shop"), "CREATE EXTENSION pg_jwks");
    let hint = "HINT:  A superuser first runs: CREATE ROLE app NOLOGIN; GRANT app TO proprietor;";
    for (setup, message) in [
        ("SELECT", "role \"app\" does not exist"),
        ("CREATE ROLE app NOLOGIN", "permission denied to set role \"app\""),
    ] {
        run(&mut server.client(), setup);
        for template in specs::all() {
            let output = server.run_sql_file("proprietor", "shop", file(template.name)).expect_err(template.name);
            assert!(output.contains(message) && output.contains(hint), "{}: {output}", template.name);
            assert_eq!(output.matches("ERROR").count(), 1, "{output}");
        }
    }
    let made = "SELECT count(*) FROM pg_namespace WHERE nspowner = 'proprietor'::regrole";
    assert_eq!(server.connect("postgres", "shop").query_one(made, &[]).expect("schemas").get::<_, i64>(0), 0);
}

/// One database has one source of tenants: that of the file which was run last.
#[test]
fn the_last_file_says_where_tenants_come_from() {
    let server = started();
    run(&mut server.client(), "CREATE ROLE app NOLOGIN; CREATE ROLE service LOGIN IN ROLE app");
    let claim = specs::named("tenant_by_claim");
    for lookup in ["tenant_by_lookup", "chosen_tenant", "tenant_roles"].map(specs::named) {
        for (db, first, last) in [("claim_first", claim, lookup), ("lookup_first", lookup, claim)] {
            run(&mut server.client(), &format!("CREATE DATABASE {db}"));
            for template in [first, last] {
                let output = server.run_sql_file("postgres", db, file(template.name));
                output.unwrap_or_else(|output| panic!("{}: {output}", template.name));
            }
            let mut service = server.connect("service", db);
            for actor in last.actors {
                sign_in(&mut service, actor);
                for target in last.targets {
                    let rows = format!("SELECT {}::text FROM {}.{}", target.id, last.name, target.name);
                    let expected = set(target.access(actor.name).reads);
                    assert_eq!(query(&mut service, &rows), Ok(expected), "{}: {rows} in {db}", actor.name);
                }
            }
            drop(service);
            run(&mut server.client(), &format!("DROP DATABASE {db} WITH (FORCE)"));
        }
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
