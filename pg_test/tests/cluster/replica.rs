//! A streaming replica has a worker and keys of its own.

use std::thread;
use std::time::Duration;

use pg_test::app::App;
use pg_test::login::{accepted, init, key_unknown, sees, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Fault, Issuer, SigningKey};

use crate::server::{preloaded, refresh, started, worker_pid};

#[test]
fn a_standby_verifies_and_reads_under_rls_before_and_after_promotion() {
    let (issuer, old, new) =
        (Issuer::start(), SigningKey::generate(Alg::Es256, "old"), SigningKey::generate(Alg::Es256, "new"));
    issuer.publish(&[&old]);
    let primary = started(preloaded().setting("pg_jwks.issuer", issuer.url()));
    let role = App::new(&primary, &[]).role().to_owned();
    let standby = primary.replica();
    let connect = || standby.connect(&role, "postgres");
    let mut session = eventually("the role on the standby", || {
        let mut config = standby.config();
        standby.try_connect(config.user(&role)).ok()
    });
    let in_recovery: bool = session.query_one("SELECT pg_is_in_recovery()", &[]).expect("query").get(0);
    assert!(in_recovery);
    worker_pid(&standby);
    accepted(&mut session, &token(&old, issuer.url()));
    // A rotation while the primary is down: the standby asks the issuer itself.
    primary.stop();
    issuer.publish(&[&new]);
    issuer.reset_requests();
    accepted(&mut session, &token(&new, issuer.url()));
    // On a busy machine the fetch with which its worker began can be among them.
    assert!((1..=2).contains(&issuer.requests().jwks), "{:?}", issuer.requests());
    key_unknown(&mut session, &token(&old, issuer.url()));
    accepted(&mut session, &token(&new, issuer.url()));
    let worker = worker_pid(&standby);
    standby.client().execute("SELECT pg_promote()", &[]).expect("promoted");
    assert_eq!(sees(&mut session), ["alice"], "the identity outlives the promotion");
    assert_eq!(worker_pid(&standby), worker, "and so does the worker");
    accepted(&mut session, &token(&new, issuer.url()));
    accepted(&mut connect(), &token(&new, issuer.url()));
    refresh(&mut standby.client()).expect("a fetch");
    standby.client().batch_execute("CREATE TABLE after_promotion ()").expect("it is a primary");
    // It stored the keys for itself.
    issuer.set_fault(Fault::Status(503));
    standby.restart();
    eventually("a session after the restart", || init(&mut connect(), &token(&new, issuer.url())).ok());
    thread::sleep(Duration::from_millis(1));
}
