//! What a template promises: who may do what to which rows.

/// A file of `rls_examples/`.
pub struct Template {
    /// Of the file, of the schema that it makes, and of the database that it is tested in.
    pub name: &'static str,
    /// Who tries.
    pub actors: &'static [Actor],
    /// The tables and views that they try.
    pub targets: &'static [Target],
}

/// Somebody with a token.
pub struct Actor {
    pub name: &'static str,
    /// Claims of the token, as JSON.
    pub claims: &'static str,
    /// What the session does after it has handed over the token; may be empty.
    pub then: &'static str,
}

/// A user with no claims but `sub`.
pub const fn user(name: &'static str, claims: &'static str) -> Actor {
    Actor { name, claims, then: "" }
}

/// A table or view, and all that anybody may do to it.
pub struct Target {
    /// Its name, without the schema.
    pub name: &'static str,
    /// The table that holds its rows: itself, but for a view.
    pub table: &'static str,
    /// The columns that tell rows apart, of which `id` is one.
    pub key: &'static str,
    /// The column that names a row.
    pub id: &'static str,
    /// The column that the policies look at: the owner or the tenant of a row.
    pub home: &'static str,
    /// Another column that takes `value`; the home again where there is none.
    pub body: &'static str,
    pub value: &'static str,
    /// Names a row that is not there yet.
    pub new_id: &'static str,
    /// Whether the home may be NULL once NOT NULL is taken away: it is not in the primary key.
    pub nullable: bool,
    /// Whether it is partitioned.
    pub partitioned: bool,
    /// All homes of rows; none of them is new.
    pub homes: &'static [&'static str],
    /// Columns that the identity fills in, and what it never does.
    pub forged: &'static [(&'static str, &'static str)],
    /// What actors may do. Those who are not named, and everybody without identity, may do what [`NOBODY`] may.
    pub rights: &'static [Access],
}

/// What one actor may do. Ids are those of rows that the template inserts.
#[derive(Clone, Copy)]
pub struct Access {
    pub who: &'static str,
    pub reads: &'static [&'static str],
    pub updates: &'static [&'static str],
    pub deletes: &'static [&'static str],
    /// The one home in which the actor may insert rows, and to which rows may be moved: none where it is empty.
    pub home: &'static str,
}

/// Who has no identity.
pub const NOBODY: &str = "nobody";

const NOTHING: Access = Access { who: NOBODY, reads: &[], updates: &[], deletes: &[], home: "" };

/// Everything to these rows, and more of them in this home.
pub const fn owns(who: &'static str, ids: &'static [&'static str], home: &'static str) -> Access {
    Access { who, reads: ids, updates: ids, deletes: ids, home }
}

/// These rows, to read.
pub const fn reads(who: &'static str, ids: &'static [&'static str]) -> Access {
    Access { who, reads: ids, ..NOTHING }
}

impl Target {
    /// What an actor may do.
    pub fn access(&self, who: &str) -> Access {
        let of = |who: &str| self.rights.iter().find(|access| access.who == who).copied();
        of(who).or_else(|| of(NOBODY)).unwrap_or(NOTHING)
    }

    /// Whether it is a view.
    pub fn is_view(&self) -> bool {
        self.name != self.table
    }
}
