//! What the templates promise. The ids are those of the rows that each inserts, numbered from 1.

mod tenants;
mod users;

use crate::access::{Target, Template};

/// All of them, in the order of their README.
pub fn all() -> impl Iterator<Item = &'static Template> {
    users::TEMPLATES.iter().chain(tenants::TEMPLATES)
}

/// One of them.
pub fn named(name: &str) -> &'static Template {
    all().find(|template| template.name == name).expect(name)
}

/// A table `id, owner, body` with these rights to its rows.
const OWNED: Target = Target {
    name: "",
    table: "",
    key: "id",
    id: "id",
    home: "owner",
    body: "body",
    value: "x",
    new_id: "100",
    nullable: true,
    partitioned: false,
    forged: &[],
    homes: &["alice", "bob", "carol"],
    rights: &[],
};
