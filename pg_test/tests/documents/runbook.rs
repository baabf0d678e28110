//! The runbook of `docs/operating.md`: each step does what its paragraph says.

use pg_test::documents::Page;
use pg_test::offline::{ISSUER, KEY};
use pg_test::wait::eventually;
use pg_test::{Cluster, claims_with, offline};
use postgres::Client;
use serde_json::json;

/// The session that the page names.
const SESSION: &str = "08a5019c-17e1-4977-8f42-65a12843ea02";

/// The issuer of the page.
const PAGE_ISSUER: &str = "https://login.example.com/";

struct Operator {
    cluster: Cluster,
    token: String,
}

impl Operator {
    fn alice(&self) -> Client {
        let mut client = self.cluster.connect("app", "postgres");
        client.execute("SELECT auth.jwt_session_init($1)", &[&self.token]).expect("a good token");
        client
    }

    /// Runs a step, with the token or the entry for its parameter.
    fn run(&self, step: &str) {
        let step = step
            .replace("token => $1", &format!("token => '{}'", self.token))
            .replace("id = $1", "id IN (SELECT id FROM auth.revocations)")
            .replace(PAGE_ISSUER, ISSUER);
        let path = self.cluster.write_file("step.sql", &step);
        self.cluster.run_sql_file("postgres", "postgres", &path).unwrap_or_else(|output| panic!("{step}\n{output}"));
    }
}

fn stands(client: &mut Client) -> bool {
    client.query_one("SELECT auth.user_id()", &[]).is_ok()
}

#[test]
fn each_step_of_the_runbook_does_what_it_says() {
    let cluster = offline::options()
        .setting("shared_preload_libraries", "pg_jwks")
        .setting("pg_jwks.tenant_claim", "tenant_id")
        .start();
    cluster.client().batch_execute("CREATE EXTENSION pg_jwks; CREATE ROLE app LOGIN").expect("the extension");
    let claims = json!({ "sid": SESSION, "tenant_id": "acme" });
    let operator = Operator { cluster, token: KEY.sign(&claims_with(ISSUER, "alice", &claims)) };
    let steps = Page::of_repository("docs/operating.md").blocks("When something has happened", "sql");
    let step =
        |words: &str| steps.iter().find(|step| step.contains(words)).unwrap_or_else(|| panic!("no step {words}"));
    let take_back = step("DELETE FROM auth.revocations WHERE id");
    for revoking in ["auth.revoke(token", "auth.revoke(subject", "auth.revoke(session", "auth.revoke(issuer"] {
        let (mut open, mut untouched) = (operator.alice(), operator.alice());
        untouched.batch_execute("RESET ALL").expect("no identity");
        operator.run(step(revoking));
        assert!(!stands(&mut open) && stands(&mut untouched), "{revoking}");
        operator.run(take_back);
        assert!(stands(&mut open), "{revoking}, taken back");
    }
    let mut open = operator.alice();
    operator.run(step("pg_terminate_backend"));
    eventually("the end of the session", || open.batch_execute("SELECT 1").err());
    for rest in ["interval '30 days'", "serves_until"] {
        operator.run(step(rest));
    }
    assert_eq!(steps.len(), 8, "a step that nobody has tried");
}
