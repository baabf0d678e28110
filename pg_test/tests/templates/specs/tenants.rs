//! Templates in which rows belong to tenants.

use super::OWNED;
use crate::access::{Access, Actor, Target, Template, owns, reads, user};

const TENANT_A: &str = "00000000-0000-4000-8000-00000000000a";
const TENANT_B: &str = "00000000-0000-4000-8000-00000000000b";
const ALICE: &str = "00000000-0000-4000-8000-0000000000a1";
const ANTON: &str = "00000000-0000-4000-8000-0000000000a2";
const BOB: &str = "00000000-0000-4000-8000-0000000000b1";

/// A table `id, tenant_id, body`, whose tenants have names.
const TENANTS: Target = Target { home: "tenant_id", homes: &["acme", "globex", "initech"], ..OWNED };

/// A table `id, tenant_id, body`, whose tenants are uuids.
const UUID_TENANTS: Target = Target { homes: &[TENANT_A, TENANT_B], ..TENANTS };

/// A partition, with rows of one tenant.
const PARTITION: Target = Target { partitioned: false, ..EVENTS };

const EVENT_1: &str = "00000000-0000-4000-8000-000000000001";
const EVENT_2: &str = "00000000-0000-4000-8000-000000000002";
const EVENT_3: &str = "00000000-0000-4000-8000-000000000003";

const EVENTS: Target = Target {
    name: "event",
    table: "event",
    partitioned: true,
    key: "tenant_id, id",
    new_id: "00000000-0000-4000-8000-000000000100",
    nullable: false,
    homes: &["acme", "globex"],
    rights: &[owns("alice", &[EVENT_1, EVENT_2], "acme"), owns("bob", &[EVENT_3], "globex")],
    ..TENANTS
};

pub const TEMPLATES: &[Template] = &[
    Template {
        name: "tenant_by_lookup",
        actors: &[
            user("alice", r#"{"sub": "00000000-0000-4000-8000-0000000000a1"}"#),
            user("anton", r#"{"sub": "00000000-0000-4000-8000-0000000000a2"}"#),
            user("bob", r#"{"sub": "00000000-0000-4000-8000-0000000000b1"}"#),
            user("carol", r#"{"sub": "00000000-0000-4000-8000-0000000000c1"}"#),
            user("dora", r#"{"sub": "no uuid", "tenant_id": "00000000-0000-4000-8000-00000000000a"}"#),
        ],
        targets: &[
            Target {
                name: "document",
                table: "document",
                rights: &[
                    owns("alice", &["1", "2"], TENANT_A),
                    owns("anton", &["1", "2"], TENANT_A),
                    owns("bob", &["3"], TENANT_B),
                ],
                ..UUID_TENANTS
            },
            Target {
                name: "folder",
                table: "folder",
                body: "name",
                rights: &[
                    owns("alice", &["1"], TENANT_A),
                    owns("anton", &["1"], TENANT_A),
                    owns("bob", &["2"], TENANT_B),
                ],
                ..UUID_TENANTS
            },
            Target {
                name: "member",
                table: "member",
                key: "user_id",
                id: "user_id",
                body: "tenant_id",
                new_id: "00000000-0000-4000-8000-0000000000c1",
                nullable: false,
                rights: &[reads("alice", &[ALICE, ANTON]), reads("anton", &[ALICE, ANTON]), reads("bob", &[BOB])],
                ..UUID_TENANTS
            },
        ],
    },
    Template {
        name: "tenant_by_claim",
        actors: &[
            user("alice", r#"{"tenant_id": "acme"}"#),
            user("bob", r#"{"tenant_id": "globex"}"#),
            user("carol", "{}"),
            user("dora", r#"{"tenant_id": ""}"#),
        ],
        targets: &[Target {
            name: "invoice",
            table: "invoice",
            homes: &["acme", "globex"],
            rights: &[owns("alice", &["1", "2"], "acme"), owns("bob", &["3"], "globex")],
            ..TENANTS
        }],
    },
    Template {
        name: "chosen_tenant",
        actors: &[
            Actor { then: "SELECT auth.set_tenant('acme')", ..user("alice", "{}") },
            Actor { then: "SELECT auth.set_tenant('globex')", ..user("alice in globex", r#"{"sub": "alice"}"#) },
            user("bob", "{}"),
            user("carol", "{}"),
        ],
        targets: &[
            Target {
                name: "project",
                table: "project",
                rights: &[
                    owns("alice", &["1"], "acme"),
                    owns("alice in globex", &["2"], "globex"),
                    owns("bob", &["3"], "initech"),
                ],
                ..TENANTS
            },
            Target {
                name: "tenant",
                table: "tenant",
                home: "id",
                body: "name",
                new_id: "hooli",
                nullable: false,
                rights: &[
                    reads("alice", &["acme", "globex"]),
                    reads("alice in globex", &["acme", "globex"]),
                    reads("bob", &["initech"]),
                ],
                ..TENANTS
            },
            Target {
                name: "membership",
                table: "membership",
                key: "user_id, tenant_id",
                id: "tenant_id",
                home: "user_id",
                body: "user_id",
                new_id: "initech",
                nullable: false,
                homes: &["alice", "bob", "carol"],
                rights: &[
                    reads("alice", &["acme", "globex"]),
                    reads("alice in globex", &["acme", "globex"]),
                    reads("bob", &["initech"]),
                ],
                ..TENANTS
            },
        ],
    },
    Template {
        name: "tenant_roles",
        actors: &[user("alice", "{}"), user("anton", "{}"), user("anna", "{}"), user("bob", "{}"), user("carol", "{}")],
        targets: &[
            Target {
                name: "document",
                table: "document",
                homes: &["acme", "globex"],
                rights: &[
                    owns("alice", &["1", "2"], "acme"),
                    Access { deletes: &[], ..owns("anton", &["1", "2"], "acme") },
                    reads("anna", &["1", "2"]),
                    owns("bob", &["3"], "globex"),
                ],
                ..TENANTS
            },
            Target {
                name: "member",
                table: "member",
                key: "user_id",
                id: "user_id",
                body: "level",
                value: "2",
                new_id: "carol",
                nullable: false,
                homes: &["acme", "globex"],
                rights: &[
                    owns("alice", &["alice", "anton", "anna"], "acme"),
                    reads("anton", &["alice", "anton", "anna"]),
                    reads("anna", &["alice", "anton", "anna"]),
                    owns("bob", &["bob"], "globex"),
                ],
                ..TENANTS
            },
        ],
    },
    Template {
        name: "partitions",
        actors: &[
            user("alice", r#"{"tenant_id": "acme"}"#),
            user("bob", r#"{"tenant_id": "globex"}"#),
            user("carol", "{}"),
        ],
        targets: &[
            EVENTS,
            Target {
                name: "event_1",
                table: "event_1",
                rights: &[owns("alice", &[EVENT_1, EVENT_2], "acme")],
                ..PARTITION
            },
            Target { name: "event_0", table: "event_0", rights: &[owns("bob", &[EVENT_3], "globex")], ..PARTITION },
        ],
    },
];
