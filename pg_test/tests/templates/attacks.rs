//! Statements against one table or view, and what each may come to.

use std::collections::BTreeSet;

use crate::access::{Access, Target};

/// A row as the superuser sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub id: String,
    pub home: Option<String>,
    /// Differs when the row has been written, even with the same values.
    pub version: String,
}

/// What a statement has done to a table, whatever it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub changed: BTreeSet<String>,
    pub removed: BTreeSet<String>,
    /// With their homes.
    pub added: BTreeSet<(String, Option<String>)>,
}

impl Effect {
    /// The difference between two looks at a table.
    pub fn between(before: &BTreeSet<Row>, after: &BTreeSet<Row>) -> Self {
        let ids = |rows: Vec<&Row>| rows.into_iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>();
        let gone = ids(before.difference(after).collect());
        let new: Vec<&Row> = after.difference(before).collect();
        let added = new.iter().filter(|row| !gone.contains(&row.id)).map(|row| (row.id.clone(), row.home.clone()));
        let changed: BTreeSet<String> = gone.intersection(&ids(new.clone())).cloned().collect();
        Self { added: added.collect(), removed: gone.difference(&changed).cloned().collect(), changed }
    }

    /// The rows that it is about.
    pub fn ids(&self) -> BTreeSet<String> {
        let added = self.added.iter().map(|(id, _)| id);
        self.changed.iter().chain(&self.removed).chain(added).cloned().collect()
    }

    fn changes(ids: &[&str]) -> Self {
        Self { changed: set(ids), ..Self::default() }
    }

    fn adds(id: &str, home: &str) -> Self {
        Self { added: BTreeSet::from([(id.to_owned(), Some(home.to_owned()))]), ..Self::default() }
    }
}

/// A statement and what it may do; where that is nothing, it may also fail.
pub struct Attack {
    pub statement: String,
    pub expected: Effect,
}

/// The ids of rows.
pub fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A table as the actor sees it.
pub struct View<'a> {
    /// With its schema.
    pub name: String,
    pub target: &'a Target,
    pub access: Access,
}

impl View<'_> {
    /// Queries that show ids. All of them show the rows that the actor may read.
    pub fn reads(&self) -> Vec<String> {
        let Self { name, target: Target { id, home, .. }, .. } = self;
        let mut reads = vec![
            format!("SELECT {id}::text FROM {name}"),
            format!("SELECT {id}::text FROM {name} WHERE {home} IS NULL OR {home} IS NOT NULL"),
            format!("SELECT a.{id}::text FROM {name} a JOIN {name} b USING ({id})"),
            format!("SELECT a.{id}::text FROM {name} a LEFT JOIN {name} b ON b.{home} <> a.{home} AND b.{id} = a.{id}"),
            format!("SELECT {id}::text FROM {name} WHERE {id} IN (SELECT {id} FROM {name})"),
            format!("WITH kept AS MATERIALIZED (SELECT * FROM {name}) SELECT {id}::text FROM kept"),
            format!("SELECT unnest(array_agg({id}::text)) FROM {name}"),
            format!("SELECT (whole).{id}::text FROM (SELECT t AS whole FROM {name} t) s"),
            format!("SELECT l.{id}::text FROM (VALUES (1)) v, LATERAL (SELECT * FROM {name}) l"),
            format!("SELECT {id}::text FROM {name} UNION SELECT {id}::text FROM {name}"),
        ];
        if !self.target.is_view() {
            reads.push(format!("SELECT {id}::text FROM {name} WHERE witness.leak({id}::text)"));
            reads.push(format!("SELECT {id}::text FROM {name} TABLESAMPLE SYSTEM (100)"));
        }
        reads
    }

    /// COPY statements that show the same.
    pub fn copies(&self) -> Vec<String> {
        let Self { name, target: Target { id, .. }, .. } = self;
        let mut copies = vec![format!("COPY (SELECT {id} FROM {name}) TO STDOUT")];
        // Of a partitioned table COPY TO shows nothing: it does not look into the partitions.
        if !self.target.is_view() && !self.target.partitioned {
            copies.push(format!("COPY {name} ({id}) TO STDOUT"));
        }
        copies
    }

    /// A query that locks rows, and shows those that the actor may change.
    pub fn locks(&self) -> String {
        format!("SELECT {}::text FROM {} FOR UPDATE", self.target.id, self.name)
    }

    /// Statements that nobody may run.
    pub fn forbidden(&self) -> Vec<String> {
        let name = &self.name;
        vec![
            format!("TRUNCATE {name}"),
            format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"),
            format!("CREATE POLICY open ON {name} USING (true)"),
            format!("SET LOCAL row_security = off; SELECT count(*) FROM {name}"),
        ]
    }

    /// Everything that writes.
    pub fn writes(&self, rows: &BTreeSet<Row>) -> Vec<Attack> {
        let mut attacks = self.updates();
        attacks.extend(self.inserts());
        attacks.extend(self.upserts(rows));
        attacks
    }

    /// In every home that there is, and in none.
    fn homes(&self) -> impl Iterator<Item = (String, bool)> {
        let known = self.target.homes.iter().map(|home| (format!("'{home}'"), *home == self.access.home));
        known.chain([("NULL".to_owned(), false)])
    }

    /// `SET` of something that is not the home, without reading a column where that is possible: a statement that
    /// reads none is held back by the policies for its own command alone. `same_id` is the id that the row has.
    fn assignment(&self, same_id: &str) -> String {
        let Target { id, home, body, value, .. } = self.target;
        if body == home { format!("{id} = {same_id}") } else { format!("{body} = '{value}'") }
    }

    fn updates(&self) -> Vec<Attack> {
        let Self { name, target, access } = self;
        let Target { id, home, .. } = target;
        let set = self.assignment(id);
        let changes = Effect::changes(access.updates);
        let removes = Effect { removed: self::set(access.deletes), ..Effect::default() };
        let mut attacks = vec![
            Attack { statement: format!("UPDATE {name} SET {set}"), expected: changes.clone() },
            Attack {
                statement: format!("UPDATE {name} SET {set} WHERE {id} IS NOT NULL RETURNING {id}::text"),
                expected: changes.clone(),
            },
            Attack {
                statement: format!(
                    "WITH ids AS (SELECT {id} AS i FROM {name}) UPDATE {name} SET {set} FROM ids WHERE {id} = i"
                ),
                expected: changes.clone(),
            },
            Attack { statement: format!("DELETE FROM {name}"), expected: removes.clone() },
            Attack { statement: format!("DELETE FROM {name} WHERE {id} IS NOT NULL"), expected: removes.clone() },
            Attack { statement: format!("DELETE FROM {name} RETURNING {id}::text"), expected: removes },
        ];
        for (to, allowed) in self.homes() {
            let expected = if allowed { changes.clone() } else { Effect::default() };
            for more in ["", " WHERE true", &format!(" RETURNING {id}::text")] {
                let statement = format!("UPDATE {name} SET {home} = {to}{more}");
                attacks.push(Attack { statement, expected: expected.clone() });
            }
        }
        if !target.is_view() && cfg!(not(before_pg15)) {
            // MERGE refuses to change a row that its actor may read and not change.
            let all = self::set(access.reads) == self::set(access.updates);
            let expected = if all { changes } else { Effect::default() };
            let statement = format!(
                "MERGE INTO {name} m USING {name} s ON m.{id} = s.{id} WHEN MATCHED THEN UPDATE SET {}",
                self.assignment(&format!("m.{id}"))
            );
            attacks.push(Attack { statement, expected });
        }
        attacks
    }

    /// The columns of a new row and their values, `INSERT (...) VALUES (...)`.
    fn row(&self, id: &str, home: Option<&str>) -> (String, String) {
        let target = self.target;
        let home = home.map(|home| (target.home, home.to_owned()));
        let id = (target.id != target.home || home.is_none()).then(|| (target.id, format!("'{id}'")));
        let body = (target.body != target.home).then(|| (target.body, format!("'{}'", target.value)));
        let (columns, values): (Vec<_>, Vec<_>) = home.into_iter().chain(id).chain(body).unzip();
        (columns.join(", "), values.join(", "))
    }

    fn inserts(&self) -> Vec<Attack> {
        let Self { name, target, access } = self;
        let Target { id, new_id, .. } = target;
        let adds = match access.home {
            "" => Effect::default(),
            home => Effect::adds(new_id, home),
        };
        let (columns, values) = self.row(new_id, None);
        let mut attacks = vec![Attack {
            statement: format!("INSERT INTO {name} ({columns}) VALUES ({values})"),
            expected: adds.clone(),
        }];
        attacks.extend(target.forged.iter().map(|(column, value)| Attack {
            statement: format!("INSERT INTO {name} ({columns}, {column}) VALUES ({values}, '{value}')"),
            expected: Effect::default(),
        }));
        for (home, allowed) in self.homes() {
            let (columns, values) = self.row(new_id, Some(&home));
            let insert = format!("INSERT INTO {name} ({columns}) VALUES ({values})");
            let mut statements = vec![insert.clone(), format!("{insert} RETURNING {id}::text")];
            if !target.is_view() && cfg!(not(before_pg15)) {
                statements.push(format!(
                    "MERGE INTO {name} USING (VALUES (1)) one ON false WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})"
                ));
            }
            let expected = if allowed { adds.clone() } else { Effect::default() };
            attacks.extend(statements.into_iter().map(|statement| Attack { statement, expected: expected.clone() }));
        }
        attacks
    }

    fn upserts(&self, rows: &BTreeSet<Row>) -> Vec<Attack> {
        let Self { name, target, access } = self;
        let key_has_home = target.key != target.id;
        let set = self.assignment(&format!("excluded.{}", target.id));
        let mut attacks = Vec::new();
        for row in rows {
            for (home, allowed) in self.homes() {
                let (columns, values) = self.row(&row.id, Some(&home));
                let elsewhere = row.home.as_deref() != Some(access.home);
                let expected = match allowed {
                    true if key_has_home && elsewhere => Effect::adds(&row.id, access.home),
                    true if access.updates.contains(&&*row.id) => Effect::changes(&[&row.id]),
                    _ => Effect::default(),
                };
                attacks.push(Attack {
                    statement: format!(
                        "INSERT INTO {name} ({columns}) VALUES ({values}) ON CONFLICT ({}) DO UPDATE SET {set}",
                        target.key
                    ),
                    expected,
                });
            }
        }
        attacks
    }
}
