//! Logins with the tokens of providers that run here.

use crate::server::*;
use pg_test::RealProvider;
use pg_test::cluster::Options;

at_each_door!(a_token_of_better_auth_logs_in, a_token_of_canaille_logs_in,);

/// Alice logs in with a token, before and after the provider has replaced its keys.
fn logs_in(door: Door, provider: &RealProvider, options: Options) {
    let cluster = door.started(options.setting("pg_jwks.issuer", provider.url()));
    cluster.client().batch_execute("CREATE DATABASE named").expect("CREATE DATABASE");
    door.authenticate(&cluster, &[Rule { issuer: provider.url(), scope: "", ..RULE }], "");
    let good = |token: &str| {
        let mut client = door.connect(&cluster, "alice", "named", token).expect("a login");
        assert_eq!(client.value("SELECT auth.claim('iss')").as_deref(), Some(provider.url()));
        door.connect(&cluster, "bob", "named", token).err().expect("another role");
    };
    let former = provider.token();
    good(&former);
    provider.rotate();
    good(&provider.token());
    door.connect(&cluster, "alice", "named", &former).err().expect("a key that is gone");
}

fn a_token_of_better_auth_logs_in(door: Door) {
    let provider = RealProvider::better_auth();
    let options = door
        .options()
        .setting("pg_jwks.jwks_uri", &format!("{}/api/auth/jwks", provider.url()))
        .setting("pg_jwks.audience", provider.url())
        .setting("pg_jwks.authn_claim", "name");
    logs_in(door, &provider, options);
}

fn a_token_of_canaille_logs_in(door: Door) {
    let provider = RealProvider::canaille();
    logs_in(door, &provider, door.options().setting("pg_jwks.audience", "db"));
}
