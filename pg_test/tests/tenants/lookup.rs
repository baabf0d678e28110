//! Memberships in a table.

use crate::server::*;

#[test]
fn the_tenant_is_the_users() {
    let database = Database::new("usual", USUAL);
    let mut client = database.app();
    assert_eq!((tenant(&mut client), tenants(&mut client), notes(&mut client)), (None, None, vec![]));
    for (user, own, ids) in [(ALICE, RED, [1, 3]), (BOB, BLUE, [2, 4])] {
        init(&mut client, user);
        assert_eq!(tenant(&mut client).as_deref(), Some(own));
        assert_eq!(tenants(&mut client), Some(vec![own.into()]));
        assert_eq!(notes(&mut client), ids);
    }
    init(&mut client, CAROL);
    assert_eq!(tenants(&mut client), Some(vec![RED.into(), BLUE.into()]));
    let error = all_fail(&mut client, "55000");
    assert_eq!(error.message, "no tenant chosen");
    run(&mut client, &format!("SELECT auth.set_tenant('{BLUE}')"));
    assert_eq!(notes(&mut client), [2, 4]);
    run(&mut client, &format!("SELECT auth.set_tenant('{RED}')"));
    assert_eq!(notes(&mut client), [1, 3]);
}
