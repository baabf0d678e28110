//! Many tenants share few connections: nobody ever sees or writes a row of another tenant.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::cluster::PgBouncer;
use pg_test::long;
use postgres::Client;
use postgres::types::Type;
use uuid::Uuid;

use crate::server::*;

const TENANTS: u128 = 100;
const CLIENTS: u64 = 20;
const CONNECTIONS: u32 = 4;

fn duration() -> Duration {
    Duration::from_secs(if long::is_asked_for() { 60 } else { 15 })
}

const SCHEMA: &str = "
    CREATE TABLE users (id text PRIMARY KEY, tenant_id uuid NOT NULL);
    INSERT INTO users SELECT format('u%s.%s', n, k), lpad(to_hex(n), 32, '0')::uuid
      FROM generate_series(0, 99) n, generate_series(0, 1) k;
    CREATE TABLE item (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant_id uuid NOT NULL DEFAULT get_current_user_tenant_id(),
        writer text NOT NULL DEFAULT auth.user_id(),
        edits int NOT NULL DEFAULT 0);
    CREATE INDEX ON item (tenant_id);
    INSERT INTO item (tenant_id, writer) SELECT tenant_id, id FROM users, generate_series(1, 20);
    SELECT auth.enable_tenant_isolation('item');
    GRANT SELECT, INSERT, UPDATE, DELETE ON item TO app;
    ANALYZE";

/// What a client tries in one transaction.
const ATTEMPTS: [&str; 9] = [
    "read",
    "write",
    "edit",
    "move a row to another tenant",
    "touch the rows of another tenant",
    "fail to log in",
    "log in for the session",
    "roll back",
    "disconnect",
];

struct Worker<'a> {
    bouncer: &'a PgBouncer,
    client: Client,
    random: u64,
    /// How often each attempt was made.
    done: HashMap<&'static str, u64>,
    foreign_rows: u64,
}

impl<'a> Worker<'a> {
    fn new(bouncer: &'a PgBouncer, seed: u64) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
        Self { bouncer, client: bouncer.connect("tenants"), random, done: HashMap::new(), foreign_rows: 0 }
    }

    /// xorshift64: repeatable, and plenty for choosing.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn step(&mut self) {
        let tenant = u128::from(self.below(TENANTS as u64));
        let other = Uuid::from_u128((tenant + 1 + u128::from(self.below(TENANTS as u64 - 1))) % TENANTS);
        let user = format!("u{tenant}.{}", self.below(2));
        let own = Uuid::from_u128(tenant);
        let attempt = ATTEMPTS[usize::try_from(self.below(ATTEMPTS.len() as u64)).expect("small")];
        *self.done.entry(attempt).or_default() += 1;
        if self.below(4) == 0 {
            let visible = self.client.query_typed("SELECT 1 FROM item LIMIT 1", &[]).expect("a query").len();
            self.foreign_rows += visible as u64;
        }
        if attempt == "log in for the session" {
            init(&mut self.client, &token(&user), false).expect_err("pg_jwks.session_scope");
            return;
        }
        run(&mut self.client, "BEGIN");
        init(&mut self.client, &token(&user), true).expect("a good token");
        self.read(own);
        match attempt {
            "write" => {
                let rows = self.client.query_typed("INSERT INTO item DEFAULT VALUES RETURNING tenant_id", &[]);
                assert_eq!(rows.expect("an INSERT")[0].get::<_, Uuid>(0), own);
            }
            "edit" => {
                let edit = "UPDATE item SET edits = edits + 1, writer = DEFAULT
                             WHERE id = (SELECT min(id) FROM item) RETURNING tenant_id";
                let rows = self.client.query_typed(edit, &[]).expect("an UPDATE");
                self.count_foreign(&rows, own);
            }
            "move a row to another tenant" => {
                let moved = self.client.query_typed("UPDATE item SET tenant_id = $1", &[(&other, Type::UUID)]);
                let error = pg_test::pg_error(&moved.expect_err("another tenant"));
                assert_eq!(error.sqlstate, "42501");
            }
            "touch the rows of another tenant" => {
                for statement in [
                    "UPDATE item SET edits = -1 WHERE tenant_id = $1 RETURNING tenant_id",
                    "DELETE FROM item WHERE tenant_id = $1 RETURNING tenant_id",
                    "SELECT tenant_id FROM item WHERE tenant_id = $1 FOR UPDATE",
                ] {
                    let rows = self.client.query_typed(statement, &[(&other, Type::UUID)]).expect("no error");
                    self.foreign_rows += rows.len() as u64;
                }
            }
            "fail to log in" => {
                let choice = usize::try_from(self.below(3)).expect("small");
                init(&mut self.client, &bad_tokens(&user)[choice], true).expect_err("a bad token");
            }
            "disconnect" => {
                self.client = self.bouncer.connect("tenants");
                return;
            }
            _ => {}
        }
        run(&mut self.client, if attempt == "roll back" { "ROLLBACK" } else { "COMMIT" });
    }

    fn read(&mut self, own: Uuid) {
        let rows = self.client.query_typed("SELECT tenant_id FROM item", &[]).expect("a query");
        assert!(rows.len() >= 40, "the tenant's own rows are there: {}", rows.len());
        self.count_foreign(&rows, own);
    }

    fn count_foreign(&mut self, rows: &[postgres::Row], own: Uuid) {
        self.foreign_rows += rows.iter().filter(|row| row.get::<_, Uuid>(0) != own).count() as u64;
    }
}

#[test]
fn no_row_of_another_tenant_is_seen_or_written() {
    SERVER.client().batch_execute("CREATE DATABASE tenants").expect("CREATE DATABASE");
    SERVER
        .client()
        .batch_execute("ALTER DATABASE tenants SET pg_jwks.session_scope = 'transaction'")
        .expect("ALTER DATABASE");
    let mut owner = SERVER.connect("postgres", "tenants");
    owner.batch_execute(SCHEMA).expect("the schema");
    let bouncer = SERVER.pgbouncer(
        "app",
        &format!("pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\nmax_db_connections = {CONNECTIONS}"),
    );
    let totals = Mutex::new((HashMap::<&str, u64>::new(), 0_u64));
    let end = Instant::now() + duration();
    thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let (bouncer, totals) = (&bouncer, &totals);
            scope.spawn(move || {
                let mut worker = Worker::new(bouncer, seed);
                while Instant::now() < end {
                    worker.step();
                }
                let mut totals = totals.lock().expect("the totals");
                totals.1 += worker.foreign_rows;
                for (attempt, times) in worker.done {
                    *totals.0.entry(attempt).or_default() += times;
                }
            });
        }
    });
    let (done, foreign_rows) = totals.into_inner().expect("the totals");
    println!("{} transactions: {done:?}; rows of another tenant: {foreign_rows}", done.values().sum::<u64>());
    assert_eq!(foreign_rows, 0, "rows of another tenant were seen");
    for attempt in ATTEMPTS {
        assert!(done.get(attempt).is_some_and(|times| *times >= 20), "too few attempts to {attempt}: {done:?}");
    }
    let written: i64 = owner
        .query_one("SELECT count(*) FROM item i JOIN users u ON u.id = i.writer WHERE i.tenant_id <> u.tenant_id", &[])
        .expect("a count")
        .get(0);
    assert_eq!(written, 0, "rows were written for another tenant");
    let touched: i64 = owner.query_one("SELECT count(*) FROM item WHERE edits < 0", &[]).expect("a count").get(0);
    assert_eq!(touched, 0, "rows of another tenant were edited");
}
