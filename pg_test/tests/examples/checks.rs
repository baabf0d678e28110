//! What holds in every example, whatever its schema.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pg_test::pg_error;
use postgres::{Client, GenericClient, Transaction};
use serde_json::{Value, json};

use crate::migration::{assert_every_way, visible};

/// A table of an example, in a database that nobody else uses, and who may do what to which rows of it.
pub struct Guarded<'a> {
    /// Opens a session of a role in the database.
    pub connect: &'a dyn Fn(&str) -> Client,
    /// The role that the application connects as, and the one as which its statements then run.
    pub login: &'a str,
    pub role: &'a str,
    /// A token of a user of one tenant, and of a user of none.
    pub token: String,
    pub homeless: String,
    /// Its key is `id`.
    pub table: &'a str,
    /// The column that the policies look at, and one that names rows.
    pub home: &'a str,
    pub item: &'a str,
    /// All rows that the user may see, change and delete, and one that the user may not.
    pub own: &'a [&'a str],
    pub other: &'a str,
}

impl Guarded<'_> {
    /// The policies hold without NOT NULL and with all privileges on rows: in the table, in a view of it, in a table that
    /// refers to it, and against the table's owner where they are forced.
    #[track_caller]
    pub fn assert_policies_hold(&self) {
        let Self { table, home, item, other, role, .. } = self;
        let key = if self.row(other)["id"].is_number() { "int" } else { "uuid" };
        self.run(&format!(
            "CREATE VIEW shown WITH (security_invoker = true) AS SELECT * FROM {table};
             CREATE TABLE part (parent {key} REFERENCES {table} ON DELETE CASCADE, label text);
             INSERT INTO part SELECT id, {item} FROM {table};
             ALTER TABLE part ENABLE ROW LEVEL SECURITY;
             CREATE POLICY of_parent ON part USING (EXISTS (SELECT FROM {table} whole WHERE whole.id = parent));
             GRANT SELECT, INSERT, UPDATE, DELETE ON {table}, shown, part TO {role}"
        ));
        let theirs = self.row(other);
        self.assert_reads();
        self.assert_writes(&theirs);
        self.run(&format!(
            "ALTER TABLE {table} ALTER {home} DROP NOT NULL; UPDATE {table} SET {home} = NULL WHERE {item} = '{other}'"
        ));
        self.assert_reads();
        self.assert_writes(&theirs);
        self.assert_homeless_own_nothing(&theirs);
        self.assert_only_force_binds_the_owner();
    }

    /// The user sees their own rows, and nobody sees any.
    #[track_caller]
    fn assert_reads(&self) {
        let Self { table, item, own, .. } = self;
        self.request(&self.token, |client| {
            for (relation, column) in [(*table, *item), ("shown", item), ("part", "label")] {
                assert_every_way(client, relation, column, own);
            }
            let joined = format!("SELECT label FROM part JOIN {table} whole ON whole.id = parent ORDER BY 1");
            assert_eq!(visible(client, &joined), *own, "{joined}");
            let refused = client.copy_in(&format!("COPY {table} ({item}) FROM STDIN")).err().expect("COPY FROM");
            assert_eq!(pg_error(&refused).sqlstate, "0A000");
        });
        let mut nobody = self.nobody();
        for query in self.queries() {
            assert!(visible(&mut nobody, &query).is_empty(), "{query}, without identity");
        }
    }

    /// The user changes their own rows, and neither gives rows away nor takes any.
    #[track_caller]
    fn assert_writes(&self, theirs: &Value) {
        let Self { table, home, item, own, .. } = self;
        let mine = self.row(own[0]);
        let (my_id, their_id, their_home) = (&text(&mine["id"]), &text(&theirs["id"]), &text(&theirs[home]));
        let new_id = new_id(&mine);
        let insert = |changes: Value| self.insert(&mine, changes);
        let upsert = format!("ON CONFLICT (id) DO UPDATE SET {item} = 'x'");
        let none_or_theirs = [Value::Null, json!(their_home)];
        self.request(&self.token, |client| {
            let mut refused = vec![
                insert(json!({ "id": their_id })) + &upsert,
                insert(json!({})) + &format!("ON CONFLICT (id) DO UPDATE SET {home} = '{their_home}'"),
                insert(json!({})) + &format!("ON CONFLICT (id) DO UPDATE SET {home} = NULL"),
                format!("UPDATE part SET parent = '{their_id}'"),
                format!("UPDATE part SET parent = '{new_id}'"),
                format!("INSERT INTO part VALUES ('{their_id}', 'x')"),
                format!("INSERT INTO part VALUES ('{new_id}', 'x')"),
            ];
            for other in none_or_theirs {
                refused.push(insert(json!({ "id": new_id, *home: other })));
                refused.push(insert(json!({ "id": their_id, *home: other })) + &upsert);
                let other = other.as_str().map_or("NULL".to_owned(), |other| format!("'{other}'"));
                refused.push(format!("UPDATE {table} SET {home} = {other}"));
                refused.push(format!("UPDATE shown SET {home} = {other} WHERE id = '{my_id}'"));
            }
            for statement in refused {
                assert_eq!(attempt(client, &statement), Err("42501".to_owned()), "{statement}");
            }
            let all = u64::try_from(own.len()).expect("a few rows");
            for (statement, rows) in [
                (insert(json!({})) + &upsert, 1),
                (insert(json!({ "id": their_id })) + "ON CONFLICT DO NOTHING", 0),
                (format!("UPDATE {table} SET {item} = {item}"), all),
                (format!("UPDATE {table} SET {item} = 'x' WHERE id = '{their_id}'"), 0),
                (format!("UPDATE shown SET {item} = {item}"), all),
                ("UPDATE part SET label = 'x'".to_owned(), all),
                (format!("INSERT INTO part VALUES ('{my_id}', 'x')"), 1),
                (format!("DELETE FROM {table} WHERE id = '{their_id}'"), 0),
                (format!("DELETE FROM {table}"), all),
                ("DELETE FROM shown".to_owned(), all),
                ("DELETE FROM part".to_owned(), all),
            ] {
                assert_eq!(attempt(client, &statement), Ok(rows), "{statement}");
            }
            let returned = visible(client, &format!("UPDATE {table} SET {item} = {item} RETURNING {item}"));
            assert_eq!(returned, *own, "RETURNING");
        });
    }

    /// A user without tenant has no part in the row of nobody.
    #[track_caller]
    fn assert_homeless_own_nothing(&self, theirs: &Value) {
        let Self { table, home, item, .. } = self;
        self.request(&self.homeless, |client| {
            for query in self.queries() {
                assert!(visible(client, &query).is_empty(), "{query}, of no tenant");
            }
            for statement in [format!("UPDATE {table} SET {item} = 'x'"), format!("DELETE FROM {table}")] {
                assert_eq!(attempt(client, &statement), Ok(0), "{statement}, of no tenant");
            }
            let insert = self.insert(theirs, json!({ "id": new_id(theirs), *home: null }));
            assert_eq!(attempt(client, &insert), Err("42501".to_owned()), "{insert}, of no tenant");
        });
    }

    /// As the owner of the table, the role sees all rows, or with FORCE those of the identity.
    #[track_caller]
    fn assert_only_force_binds_the_owner(&self) {
        let Self { table, item, own, role, .. } = self;
        let query = &format!("SELECT {item} FROM {table} ORDER BY 1");
        let all = visible(&mut (self.connect)("postgres"), query);
        assert!(all.len() > own.len());
        self.run(&format!("ALTER TABLE {table} OWNER TO {role}"));
        self.request(&self.token, |client| assert_eq!(visible(client, query), all, "the owner without FORCE"));
        assert_eq!(visible(&mut self.nobody(), query), all, "the owner without FORCE and identity");
        self.run(&format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"));
        self.request(&self.token, |client| assert_eq!(visible(client, query), *own, "the owner"));
        self.request(&self.homeless, |client| assert!(visible(client, query).is_empty(), "the owner, of no tenant"));
        assert!(visible(&mut self.nobody(), query).is_empty(), "the owner without identity");
    }

    fn queries(&self) -> [String; 3] {
        let Self { table, item, .. } = self;
        [(*table, *item), ("shown", item), ("part", "label")]
            .map(|(from, column)| format!("SELECT {column} FROM {from}"))
    }

    /// A session that has the rights and no identity.
    fn nobody(&self) -> Client {
        let mut client = (self.connect)(self.login);
        client.batch_execute(&format!("SET ROLE {}", self.role)).expect("a role of its own");
        client
    }

    /// A transaction whose identity is the token's; it is rolled back.
    #[track_caller]
    fn request(&self, token: &str, work: impl FnOnce(&mut Transaction)) {
        let mut client = (self.connect)(self.login);
        let mut request = client.transaction().expect("a transaction");
        request.execute("SELECT auth.jwt_session_init($1, true)", &[&token]).expect("a good token");
        work(&mut request);
    }

    #[track_caller]
    fn run(&self, statements: &str) {
        let mut superuser = (self.connect)("postgres");
        superuser.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// A row as JSON, whoever may see it.
    #[track_caller]
    fn row(&self, name: &str) -> Value {
        let query = format!("SELECT to_jsonb(r)::text FROM {} r WHERE {} = '{name}'", self.table, self.item);
        let found = visible(&mut (self.connect)("postgres"), &query);
        serde_json::from_str(&found[0]).expect("JSON")
    }

    /// An INSERT of the row with some columns changed, to which ON CONFLICT may be added.
    fn insert(&self, row: &Value, changes: Value) -> String {
        let mut row = row.clone();
        row.as_object_mut().expect("a row").extend(changes.as_object().expect("columns").clone());
        let table = self.table;
        format!(
            "INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::{table}, '{row}') "
        )
    }
}

/// An id that no row has, of the type that this row's has.
fn new_id(row: &Value) -> &'static str {
    if row["id"].is_number() { "1000" } else { "00000000-0000-4000-8000-000000000000" }
}

/// A value as SQL text has it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How many rows a statement changes, which is undone, or the SQLSTATE with which it fails.
fn attempt(client: &mut impl GenericClient, statement: &str) -> Result<u64, String> {
    let mut attempt = client.transaction().expect("a transaction or a savepoint");
    attempt.execute(statement, &[]).map_err(|error| pg_error(&error).sqlstate)
}

/// Until this second, in seconds since 1970, the identity serves these statements, and afterwards none of them. What they
/// do is undone.
#[track_caller]
pub fn assert_ends(client: &mut impl GenericClient, end: i64, statements: &[&str]) {
    for statement in statements {
        attempt(client, statement).unwrap_or_else(|sqlstate| panic!("{statement}: {sqlstate}"));
    }
    let moment = UNIX_EPOCH + Duration::from_secs(end.unsigned_abs()) + Duration::from_millis(20);
    if let Ok(left) = moment.duration_since(SystemTime::now()) {
        sleep(left);
    }
    for statement in statements {
        assert_eq!(attempt(client, statement), Err("28000".to_owned()), "{statement}");
    }
}
