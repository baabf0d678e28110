//! What the templates grant to the application: policies are one fence, privileges the other.

use crate::server::{Database, lint, texts};
use crate::specs;

/// On each table what its policies let somebody do, and no more: no TRUNCATE, which no policy is asked about, and no
/// REFERENCES, which tells what rows there are. To others nothing.
#[test]
fn grants_are_no_wider_than_the_policies() {
    for template in specs::all() {
        let mut client = Database::new(template, "grants").superuser();
        assert!(lint(&mut client).is_empty(), "{}: {:?}", template.name, lint(&mut client));
        for target in template.targets {
            let written = target.rights.iter().any(|access| !access.home.is_empty());
            let expected: &[&str] = match (template.name, target.name) {
                ("partitions", "event_0" | "event_1") => &[],
                ("column_defaults", _) => &["DELETE", "INSERT", "SELECT", "UPDATE (body)"],
                _ if written => &["DELETE", "INSERT", "SELECT", "UPDATE"],
                _ => &["SELECT"],
            };
            let others = format!(
                "SELECT has_table_privilege('other', '{}.{}', 'SELECT, INSERT, UPDATE, DELETE')::text",
                template.name, target.name
            );
            assert_eq!(texts(&mut client, &others), ["false"], "{others}");
            let granted = texts(
                &mut client,
                &format!(
                    "SELECT privilege_type FROM pg_class, aclexplode(relacl)
                      WHERE oid = '{0}.{1}'::regclass AND grantee = 'app'::regrole
                      UNION ALL
                     SELECT privilege_type || ' (' || attname || ')' FROM pg_attribute, aclexplode(attacl)
                      WHERE attrelid = '{0}.{1}'::regclass AND grantee = 'app'::regrole",
                    template.name, target.name
                ),
            );
            assert_eq!(granted, expected, "{}.{}", template.name, target.name);
        }
    }
}
