//! The owner of the tables: bound with FORCE, not bound without.

use crate::access::{NOBODY, Template};
use crate::matrix::{exposed, query, reads, shared, view};
use crate::server::{run, sign_in, sign_out};
use crate::specs;

#[test]
fn with_force_the_owner_sees_what_the_identity_may_see() {
    for template in specs::all() {
        let database = shared(template);
        let mut owner = database.owner();
        for target in template.targets {
            for actor in template.actors {
                sign_in(&mut owner, actor);
                assert_eq!(reads(&mut owner, &view(template, target, actor.name)), Ok(()), "{}", template.name);
            }
            sign_out(&mut owner);
            assert_eq!(reads(&mut owner, &view(template, target, NOBODY)), Ok(()), "{}", template.name);
        }
    }
}

#[test]
fn without_force_the_owner_sees_all() {
    for template in specs::all() {
        let database = exposed(template, "unforced");
        let mut owner = database.owner();
        for table in tables(template) {
            run(&mut owner, &format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"));
            let query =
                |client: &mut _| query(client, &format!("SELECT to_jsonb(t)::text FROM {table} t")).expect("rows");
            let all = query(&mut database.superuser());
            assert_eq!(query(&mut owner), all, "{table}");
            sign_in(&mut owner, &template.actors[0]);
            assert_eq!(query(&mut owner), all, "{table}, with an identity");
            sign_out(&mut owner);
            let mut service = database.service();
            let fewer = template.actors.iter().any(|actor| {
                sign_in(&mut service, actor);
                query(&mut service).len() < all.len()
            });
            assert!(fewer, "{table}, another role");
        }
    }
}

fn tables(template: &Template) -> impl Iterator<Item = String> {
    template
        .targets
        .iter()
        .filter(|target| !target.is_view())
        .map(|target| format!("{}.{}", template.name, target.table))
}
