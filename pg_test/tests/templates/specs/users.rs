//! Templates in which rows belong to users, or to the organisation that the token names.

use super::OWNED;
use crate::access::{Access, NOBODY, Target, Template, owns, reads, user};

const COMPANY_A: &str = "00000000-0000-4000-8000-00000000000a";
const COMPANY_B: &str = "00000000-0000-4000-8000-00000000000b";

pub const TEMPLATES: &[Template] = &[
    Template {
        name: "owned_rows",
        actors: &[user("alice", "{}"), user("bob", "{}"), user("carol", "{}")],
        targets: &[Target {
            name: "note",
            table: "note",
            rights: &[owns("alice", &["1", "2"], "alice"), owns("bob", &["3"], "bob"), owns("carol", &[], "carol")],
            ..OWNED
        }],
    },
    Template {
        name: "public_or_owned",
        actors: &[user("alice", "{}"), user("bob", "{}"), user("carol", "{}")],
        targets: &[Target {
            name: "article",
            table: "article",
            rights: &[
                Access { reads: &["1", "2", "3"], ..owns("alice", &["1", "2"], "alice") },
                Access { reads: &["1", "3", "4"], ..owns("bob", &["3", "4"], "bob") },
                Access { reads: &["1", "3"], ..owns("carol", &[], "carol") },
                reads(NOBODY, &["1", "3"]),
            ],
            ..OWNED
        }],
    },
    Template {
        name: "admin_sees_all",
        actors: &[
            user("alice", "{}"),
            user("bob", r#"{"role": "administrator"}"#),
            user("carol", r#"{"role": "admin"}"#),
            user("dora", r#"{"role": ["guest", "admin"], "sub": "bob"}"#),
        ],
        targets: &[Target {
            name: "ticket",
            table: "ticket",
            rights: &[
                owns("alice", &["1"], "alice"),
                owns("bob", &["2", "3"], "bob"),
                // With the row that has no owner.
                Access { reads: &["1", "2", "3", "90"], ..owns("carol", &[], "carol") },
                Access { reads: &["1", "2", "3", "90"], ..owns("dora", &["2", "3"], "bob") },
            ],
            ..OWNED
        }],
    },
    Template {
        name: "column_defaults",
        actors: &[
            user("alice", r#"{"email": "alice@example.com"}"#),
            user("bob", r#"{"email": "bob@example.com"}"#),
            user("carol", "{}"),
        ],
        targets: &[Target {
            name: "entry",
            table: "entry",
            forged: &[("owner_email", "eve@example.com"), ("created_at", "2020-01-01")],
            rights: &[owns("alice", &["1"], "alice"), owns("bob", &["2"], "bob"), owns("carol", &[], "carol")],
            ..OWNED
        }],
    },
    Template {
        name: "active_subscription",
        actors: &[user("alice", "{}"), user("bob", "{}"), user("carol", "{}"), user("dora", "{}")],
        targets: &[
            Target {
                name: "report",
                table: "report",
                homes: &["alice", "bob", "carol", "dora"],
                // Carol's subscription has ended, Dora never had one.
                rights: &[owns("alice", &["1"], "alice"), owns("bob", &["2"], "bob")],
                ..OWNED
            },
            Target {
                name: "subscription",
                table: "subscription",
                key: "user_id",
                id: "user_id",
                home: "user_id",
                body: "active_until",
                value: "2099-01-01",
                new_id: "dora",
                nullable: false,
                rights: &[reads("alice", &["alice"]), reads("bob", &["bob"]), reads("carol", &["carol"])],
                ..OWNED
            },
        ],
    },
    Template {
        name: "organisations",
        actors: &[
            user("alice", r#"{"o": {"id": "00000000-0000-4000-8000-00000000000a", "rol": "admin"}}"#),
            user("anton", r#"{"o": {"id": "00000000-0000-4000-8000-00000000000a", "rol": "member"}}"#),
            user("bob", r#"{"o": {"id": "00000000-0000-4000-8000-00000000000b", "rol": "admin"}}"#),
            user("carol", r#"{"o": {"id": "no uuid", "rol": "admin"}}"#),
            user("dora", r#"{"o": "00000000-0000-4000-8000-00000000000a", "rol": "admin"}"#),
        ],
        targets: &[Target {
            name: "document",
            table: "document",
            home: "organisation_id",
            homes: &[COMPANY_A, COMPANY_B],
            rights: &[
                owns("alice", &["1", "2"], COMPANY_A),
                Access { deletes: &[], ..owns("anton", &["1", "2"], COMPANY_A) },
                owns("bob", &["3"], COMPANY_B),
            ],
            ..OWNED
        }],
    },
    Template {
        name: "views",
        actors: &[user("alice", "{}"), user("bob", "{}"), user("carol", "{}")],
        targets: &[
            Target {
                name: "task",
                table: "task",
                rights: &[owns("alice", &["1", "2"], "alice"), owns("bob", &["3"], "bob"), owns("carol", &[], "carol")],
                ..OWNED
            },
            Target {
                name: "open_task",
                table: "task",
                nullable: false,
                rights: &[owns("alice", &["1"], "alice"), owns("bob", &["3"], "bob"), owns("carol", &[], "carol")],
                ..OWNED
            },
        ],
    },
];
