//! The matrix of attacks, with nothing but the policies in the way.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pg_test::now;
use postgres::Client;

use crate::access::{NOBODY, Template};
use crate::matrix::{query, shared, view, violation};
use crate::server::{run, sign_in_until};
use crate::specs;

/// One test a template.
macro_rules! templates {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { holds(specs::named(stringify!($name))); })*
    };
}

templates! {
    owned_rows public_or_owned admin_sees_all column_defaults active_subscription organisations views
    tenant_by_lookup tenant_by_claim chosen_tenant tenant_roles partitions
}

#[test]
fn each_template_is_tested() {
    let names: Vec<&str> = specs::all().map(|template| template.name).collect();
    assert_eq!(names, TESTED);
}

fn holds(template: &Template) {
    let database = shared(template);
    if let Err(what) = violation(database, template) {
        panic!("{}: {what}", template.name);
    }
    expires(&mut database.service(), template);
}

/// Once the token has expired, nothing works that policies are asked about.
fn expires(client: &mut Client, template: &Template) {
    let end = now() + 2;
    sign_in_until(client, &template.actors[0], Some(end));
    let moment = UNIX_EPOCH + Duration::from_secs(end.unsigned_abs()) + Duration::from_millis(20);
    if let Ok(left) = moment.duration_since(SystemTime::now()) {
        sleep(left);
    }
    for target in template.targets {
        let view = view(template, target, NOBODY);
        let mut statements = view.reads();
        // Where nobody may write, no policy is evaluated.
        if target.rights.iter().any(|access| !access.home.is_empty()) {
            statements.extend(view.writes(&[].into()).into_iter().map(|attack| attack.statement));
        }
        for statement in statements {
            run(client, "BEGIN");
            let error = query(client, &statement).expect_err(&statement);
            run(client, "ROLLBACK");
            assert_eq!((&*error.sqlstate, &*error.message), ("28000", "JWT has expired"), "{statement}");
        }
    }
}
