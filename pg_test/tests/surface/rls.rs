//! Row-level security for two users of one plain role, from reading to WITH CHECK.

use pg_test::app::{App, NOT_PRELOADED};
use pg_test::login::init;
use pg_test::sql::refused;
use pg_test::{SigningKey, claims, jwks};
use postgres::Client;

use crate::cases::{ISS, KEY};

/// A table of tasks, and a session of a role that may do everything to it but is not its owner.
fn tasks(table: &str) -> Client {
    let app = App::plain(&NOT_PRELOADED, &[("issuer", ISS), ("jwks", &jwks(&[&KEY]).to_string())]);
    let schema = format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, owner text NOT NULL DEFAULT auth.user_id(), body text);
         INSERT INTO {table} VALUES (1, 'alice', 'a'), (2, 'bob', 'b');
         ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON {table} USING (owner = auth.user_id()) WITH CHECK (owner = auth.user_id());
         CREATE POLICY admin ON {table} FOR SELECT USING (auth.has_role('admin'));
         GRANT ALL ON {table} TO {}",
        app.role()
    );
    NOT_PRELOADED.client().batch_execute(&schema).expect("schema");
    app.connect()
}

fn log_in(client: &mut Client, key: &SigningKey, user: &str) {
    init(client, &key.sign(&claims(ISS, user))).expect("a good token");
}

fn ids(client: &mut Client, query: &str) -> Vec<i32> {
    let mut ids: Vec<_> = client.query(query, &[]).expect(query).iter().map(|row| row.get(0)).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn each_user_reads_and_writes_own_rows_only() {
    let mut client = tasks("task");
    let all = "SELECT id FROM task";
    assert_eq!(ids(&mut client, all), [] as [i32; 0], "no identity, no rows");
    assert_eq!(client.execute("UPDATE task SET body = 'x'", &[]).expect("UPDATE"), 0);
    assert_eq!(client.execute("DELETE FROM task", &[]).expect("DELETE"), 0);
    // Without identity the default is NULL, which the column refuses before the policy is asked.
    assert!(["23502", "42501"].contains(&&*refused(&mut client, "INSERT INTO task (id) VALUES (3)").sqlstate));
    assert_eq!(refused(&mut client, "INSERT INTO task VALUES (3, 'alice')").sqlstate, "42501");

    log_in(&mut client, &KEY, "alice");
    assert_eq!(ids(&mut client, all), [1]);
    client.batch_execute("INSERT INTO task (id, body) VALUES (3, 'mine')").expect("an own row");
    assert_eq!(refused(&mut client, "INSERT INTO task VALUES (4, 'bob')").sqlstate, "42501");
    assert_eq!(refused(&mut client, "UPDATE task SET owner = 'bob' WHERE id = 3").sqlstate, "42501");
    assert_eq!(client.execute("UPDATE task SET body = 'x' WHERE id = 2", &[]).expect("UPDATE"), 0);
    assert_eq!(client.execute("DELETE FROM task WHERE id = 2", &[]).expect("DELETE"), 0);
    assert_eq!(ids(&mut client, "UPDATE task SET body = 'x' RETURNING id"), [1, 3]);

    log_in(&mut client, &KEY, "bob");
    assert_eq!(ids(&mut client, all), [2]);
    assert_eq!(ids(&mut client, "DELETE FROM task RETURNING id"), [2]);
    assert_eq!(refused(&mut client, "INSERT INTO task VALUES (1, 'bob')").sqlstate, "23505", "a key is no secret");

    client.batch_execute("SELECT auth.jwt_session_clear()").expect("clear");
    assert_eq!(ids(&mut client, all), [] as [i32; 0]);
    assert_eq!(ids(&mut NOT_PRELOADED.client(), all), [1, 3]);
}

#[test]
fn a_role_claim_opens_what_its_policy_opens_and_no_more() {
    let mut client = tasks("job");
    let mut admin = claims(ISS, "carol");
    admin["role"] = "admin".into();
    init(&mut client, &KEY.sign(&admin)).expect("a good token");
    assert_eq!(ids(&mut client, "SELECT id FROM job"), [1, 2]);
    assert_eq!(client.execute("UPDATE job SET body = 'x'", &[]).expect("UPDATE"), 0);
    admin["role"] = "administrator".into();
    init(&mut client, &KEY.sign(&admin)).expect("a good token");
    assert_eq!(ids(&mut client, "SELECT id FROM job"), [] as [i32; 0]);
}

#[test]
fn users_with_odd_names_see_their_own_rows_only() {
    let mut client = tasks("odd");
    let names = ["o'hara", "\"; DROP TABLE odd; --", "%", "Alice", "alice ", "j\u{f6}rg", "\u{1f600}", "\\", "NULL"];
    for (id, name) in (10..).zip(names) {
        log_in(&mut client, &KEY, name);
        client.execute("INSERT INTO odd (id) VALUES ($1)", &[&id]).expect("an own row");
        assert_eq!(ids(&mut client, "SELECT id FROM odd"), [id], "{name}");
    }
}
