//! The token as the password: what only this door has, above all that nobody is asked for a token in the clear.

use crate::server::*;
use parking_lot::Mutex;
use pg_test::process::run as run_program;
use pg_test::{Cluster, Credentials, RawClient, Refused};
use serde_json::json;
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A server, and what its file for the service `pg_jwks` says.
fn server_with(service: Option<&str>) -> Cluster {
    let cluster = Door::Password.started(Door::Password.of_key());
    cluster.client().batch_execute("CREATE DATABASE named").expect("CREATE DATABASE");
    if let Some(lines) = service {
        cluster.write_pam_service("pg_jwks", lines);
    }
    // One line for all: the client chooses whether there is TLS.
    authenticate(&cluster, "host named all all pam pamservice=pg_jwks", "");
    cluster
}

const GOOD: &str = "auth required {module} issuer=https://issuer.test [scope=login]\naccount required {module}\n";

fn over_tls(cluster: &Cluster, token: &str) -> Result<RawClient, Refused> {
    Door::Password.connect(cluster, "alice", "named", token)
}

/// The client hears what every refused client hears, whether it was asked, and the log has these words.
#[track_caller]
fn assert_refused(cluster: &Cluster, is_asked: bool, words: &[&str]) {
    let mark = cluster.log_mark();
    let token = KEY.sign(&good());
    let refused = over_tls(cluster, &token).err().expect("nobody gets in");
    assert_eq!(refused.error.message, "PAM authentication failed for user \"alice\"", "{refused:?}");
    assert_eq!((&refused.error.detail, &refused.error.hint), (&None, &None), "{refused:?}");
    assert_eq!(refused.was_asked, is_asked, "{refused:?}");
    for words in words {
        let log = logged(cluster, mark, words);
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!log.contains(part), "a part of the token is in the log");
        }
    }
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn nobody_is_asked_for_a_token_in_the_clear() {
    let cluster = server_with(Some(GOOD));
    let token = KEY.sign(&good());
    over_tls(&cluster, &token).expect("over TLS");
    for credentials in [Credentials::Cleartext(&token), Credentials::Leave] {
        let mark = cluster.log_mark();
        let refused = RawClient::connect(&cluster, "alice", "named", credentials).err().expect("not encrypted");
        assert!(!refused.was_asked, "{refused:?}");
        assert_eq!(refused.error.message, "PAM authentication failed for user \"alice\"", "{refused:?}");
        let log = logged(&cluster, mark, "LOG:  user \"alice\" not asked for a token\n");
        assert!(log.contains("DETAIL:  The connection is not encrypted."), "{log}");
        assert!(log.contains("HINT:  Make the line of pg_hba.conf one of type hostssl"), "{log}");
    }
}

/// libpq with `sslmode=prefer` tries again without TLS when it is refused.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_fallback_to_no_tls_gives_nothing_away() {
    let cluster = server_with(Some(GOOD));
    let bad = token_with(json!({ "sub": "bob" }));
    let mark = cluster.log_mark();
    let mut psql = cluster.psql();
    psql.env("PGPASSWORD", &bad).args(["host=127.0.0.1 user=alice dbname=named sslmode=prefer", "-c", "SELECT 1"]);
    let output = psql.output().expect("psql");
    assert!(!output.status.success());
    let log = logged(&cluster, mark, "not asked for a token");
    assert!(log.contains("password token rejected for user \"alice\": role not accepted"), "{log}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("PAM authentication failed for user \"alice\"").count(), 2, "{said}");
}

/// A socket of the machine is as private as TLS.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_local_socket_will_do() {
    let cluster = server_with(Some(GOOD));
    cluster.write_file("pg_hba.conf", "local all postgres trust\nlocal named all pam pamservice=pg_jwks\n");
    cluster.reload();
    let mut psql = cluster.psql();
    let socket = format!("host={} user=alice dbname=named", cluster.socket_dir().display());
    psql.env("PGPASSWORD", KEY.sign(&good())).args([&socket, "-Atc", "SELECT auth.user_id()"]);
    pg_test::wait::eventually("a reload", || {
        let output = psql.output().expect("psql");
        (output.stdout == b"alice\n").then_some(())
    });
}

/// Whatever the administrator gets wrong, nobody gets in, and the log says what it is.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_wrong_service_file_lets_nobody_in() {
    let cluster = server_with(Some(GOOD));
    let account = "account required {module}\n";
    let auth = "auth required {module} issuer=https://issuer.test\n";
    let not_required = "does not require pam_pg_jwks.so.";
    let let_in = "LOG:  user \"alice\" let in by PAM without a token\n";
    let permit = "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n";
    for (lines, is_asked, words) in [
        // Our module refuses everybody, and is not heeded.
        (
            format!("auth optional {{module}} isuer=x\nauth required pam_permit.so\n{account}"),
            false,
            vec!["The argument \"isuer=x\" is unknown."],
        ),
        (
            "auth optional {module} isuer=x\nauth required pam_permit.so\naccount required pam_permit.so\n".into(),
            false,
            vec![let_in, not_required],
        ),
        (permit.to_owned() + auth + account, false, vec!["is missing, or does not name pam_pg_jwks.so."]),
        (
            "auth required pam_permit.so\naccount required pam_permit.so\n".into(),
            false,
            vec![
                "LOG:  user \"alice\" not asked for a token\n",
                "DETAIL:  The file of the PAM service \"pg_jwks\" is missing, or does not name pam_pg_jwks.so.",
                "HINT:  See docs/login.md for the file, in /etc/pam.d.",
            ],
        ),
        // Without a line for accounts, PAM asks the service "other".
        ("auth required pam_deny.so\n".into(), false, vec!["does not name pam_pg_jwks.so."]),
        (
            format!("auth required {{module}}\n{account}"),
            false,
            vec![
                "LOG:  user \"alice\" not asked for a token\n",
                "DETAIL:  The argument \"issuer\" is missing.",
                "HINT:  Correct the line of pam_pg_jwks.so in the file of the PAM service \"pg_jwks\".",
            ],
        ),
        (
            format!("auth required {{module}} issuer=https://issuer.test map=a delegate_ident_mapping=1\n{account}"),
            false,
            vec!["DETAIL:  The arguments \"map\" and \"delegate_ident_mapping\" exclude each other."],
        ),
        (
            format!("auth required {{module}} issuer=https://issuer.test debug\n{account}"),
            false,
            vec!["DETAIL:  The argument \"debug\" is unknown."],
        ),
        (
            format!("auth required {{module}} issuer=https://issuer.test map=nobody\n{account}"),
            true,
            vec![
                "no match in usermap \"nobody\" for user \"alice\" authenticated as \"alice\"",
                "LOG:  password token rejected for user \"alice\": role not accepted",
            ],
        ),
    ] {
        cluster.write_pam_service("pg_jwks", &lines);
        println!("{lines}");
        assert_refused(&cluster, is_asked, &words);
    }
    cluster.write_pam_service("pg_jwks", GOOD);
    over_tls(&cluster, &KEY.sign(&good())).expect("the right file");
}

/// PAM then asks the service `other`, whose modules ask for a password of the machine's users.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_missing_service_file_or_account_line_lets_nobody_in() {
    let cluster = server_with(None);
    for other in ["auth required pam_permit.so\naccount required pam_permit.so\n", "auth required pam_deny.so\n"] {
        cluster.write_pam_service("other", other);
        assert_refused(&cluster, false, &["The file of the PAM service \"pg_jwks\" is missing, or does not name"]);
    }
    // The token is verified, and then nothing accepts the account.
    cluster.write_pam_service("pg_jwks", GOOD.lines().next().expect("a line"));
    cluster.write_pam_service("other", "auth required pam_deny.so\naccount required pam_deny.so\n");
    let words = "LOG:  user \"alice\" refused by PAM after the token was accepted";
    assert_refused(&cluster, true, &[words, "there is no account line for pam_pg_jwks.so"]);
}

/// A service of another name is PostgreSQL's ordinary PAM, until it asks us.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_service_of_another_name_is_not_ours() {
    let cluster = server_with(Some(GOOD));
    authenticate(&cluster, "host named all all pam pamservice=people", "");
    cluster.write_pam_service("people", "auth required pam_permit.so\naccount required pam_permit.so\n");
    over_tls(&cluster, "anything").expect("as PAM says");
    cluster.write_pam_service("people", GOOD);
    assert_refused(
        &cluster,
        false,
        &["DETAIL:  The PAM service is called \"people\".", "a name that begins with \"pg_jwks\""],
    );
    let lines = "auth optional {module} issuer=https://issuer.test\nauth required pam_permit.so\naccount required pam_permit.so\n";
    cluster.write_pam_service("people", lines);
    assert_refused(&cluster, false, &["LOG:  user \"alice\" let in by PAM without a token"]);
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn nobody_gets_in_where_the_library_is_not_preloaded() {
    let cluster = Door::Password.started(Door::Password.of_key().setting("shared_preload_libraries", ""));
    cluster.client().batch_execute("CREATE DATABASE named").expect("CREATE DATABASE");
    cluster.write_pam_service("pg_jwks", GOOD);
    authenticate(&cluster, "host named all all pam pamservice=pg_jwks", "");
    assert_refused(&cluster, false, &["pam_pg_jwks: there is no pg_jwks of this version in the process: preload it"]);
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn what_is_no_token_is_refused() {
    let cluster = server_with(Some(GOOD));
    for (token, words) in [
        ("", "empty password returned by client"),
        ("wrong", "password token rejected for user \"alice\": not three parts"),
        (&"a".repeat(64_000), "password token rejected for user \"alice\": not three parts"),
        (&format!("\"{}\"", KEY.sign(&good())), "password token rejected for user \"alice\": not base64url"),
    ] {
        let mark = cluster.log_mark();
        let refused = over_tls(&cluster, token).err().expect("no token");
        assert!(refused.was_asked, "{refused:?}");
        logged(&cluster, mark, words);
    }
    // PostgreSQL reads no longer passwords, and closes the connection.
    let mark = cluster.log_mark();
    over_tls(&cluster, &"a".repeat(66_000)).err().expect("too long");
    logged(&cluster, mark, "invalid message length");
    // A client that is asked and goes away.
    let parameters = [("user", "alice"), ("database", "named")];
    RawClient::connect_over_tls(&cluster, &parameters, Credentials::Leave).err().expect("no token");
    over_tls(&cluster, &KEY.sign(&good())).expect("the server is as it was");
}

/// As large as PostgreSQL takes a password.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn tokens_of_people_in_many_groups_log_in() {
    let cluster = server_with(Some(GOOD));
    for size in [1_000, 10_000, 44_000, 48_500] {
        let token = token_with(json!({ "groups": "g".repeat(size) }));
        println!("{} bytes", token.len());
        let mut client = over_tls(&cluster, &token).expect("a good token");
        assert_eq!(identity(&mut client).as_deref(), Some("alice"));
        assert_eq!(client.value("SELECT length(auth.claim('groups'))"), Some(size.to_string()));
        assert_eq!(client.value("SELECT count(*) FROM big").as_deref(), Some("10000"));
    }
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn the_view_of_sessions_says_that_the_token_was_the_password() {
    let cluster = server_with(Some(GOOD));
    let mut client = over_tls(&cluster, &KEY.sign(&good())).expect("a good token");
    assert_eq!(identity(&mut client).as_deref(), Some("alice"));
    let row = superuser(&cluster, "named").query_one("SELECT pid, subject, origin FROM auth.jwt_sessions", &[]);
    let row = row.expect("one session");
    assert_eq!(row.get::<_, i32>(0), client.backend_pid());
    assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2)), ("alice", "password"));
}

/// Up to version 15 such a role can give itself any role but a superuser's.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_role_that_creates_roles_is_reserved_while_that_makes_it_powerful() {
    let cluster = server_with(Some(GOOD));
    cluster.client().batch_execute("CREATE ROLE creator CREATEROLE; GRANT creator TO alice").expect("roles");
    let mark = cluster.log_mark();
    let login = over_tls(&cluster, &KEY.sign(&good()));
    match cluster.major_version() {
        ..=15 => {
            login.err().expect("reserved");
            logged(&cluster, mark, "The requested role may create roles");
        }
        _ => drop(login.expect("a role like others")),
    }
}

/// The most detailed log, and the process list, have no part of a token.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn no_log_and_no_process_list_shows_the_token() {
    let cluster = Door::Password.started(
        Door::Password
            .of_key()
            .setting("log_min_messages", "debug5")
            .setting("log_connections", "on")
            .setting("log_statement", "all"),
    );
    cluster.client().batch_execute("CREATE DATABASE named").expect("CREATE DATABASE");
    cluster.write_pam_service("pg_jwks", GOOD);
    authenticate(&cluster, "host named all all pam pamservice=pg_jwks", "");
    let tokens = [KEY.sign(&good()), token_with(json!({ "sub": "bob" })), KEY.sign(&good()).replacen('.', "!.", 1)];
    let mut sessions = Vec::new();
    for token in &tokens {
        sessions.push(over_tls(&cluster, token));
    }
    let processes = run_program(Command::new("ps").args(["-ewwo", "args"]));
    let log = cluster.log();
    assert!(log.contains("password token rejected"), "{log}");
    for part in tokens.iter().flat_map(|token| token.split('.')).filter(|part| part.len() > 20) {
        assert!(!log.contains(part), "a part of a token is in the log");
        assert!(!processes.contains(part), "a part of a token is in the process list");
    }
}

/// An error of PostgreSQL's within PAM must neither unwind its frames nor tell the client anything.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn an_error_within_the_call_refuses_the_login_and_nothing_else() {
    let cluster = Door::Password.asking(Door::Password.of_key().setting("lock_timeout", "300ms"), ISSUER);
    let mark = cluster.log_mark();
    let token = KEY.sign(&good());
    let blocker = Mutex::new(superuser(&cluster, "postgres"));
    // Once the client is asked, the catalogue of roles cannot be read any more.
    let prompt = || {
        blocker.lock().batch_execute("BEGIN; LOCK TABLE pg_authid").expect("a lock");
        token.clone()
    };
    let parameters = [("user", "alice"), ("database", "named")];
    let refused = RawClient::connect_over_tls(&cluster, &parameters, Credentials::Prompted(&prompt)).err();
    let error = refused.expect("no catalogue, no login").error;
    blocker.lock().batch_execute("ROLLBACK").expect("ROLLBACK");
    assert_eq!(error.message, "PAM authentication failed for user \"alice\"", "{error:?}");
    assert_eq!((&error.detail, &error.hint), (&None, &None), "{error:?}");
    let log = logged(&cluster, mark, "LOG:  user \"alice\" not logged in: canceling statement due to lock timeout");
    assert!(!log.contains("was terminated by"), "{log}");
    over_tls(&cluster, &token).expect("the server is as it was");
}

/// What the postmaster has loaded serves until it is restarted; the module is loaded for each login.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn libraries_that_are_replaced_on_disk_disturb_nobody() {
    let cluster = server_with(Some(GOOD));
    let token = KEY.sign(&good());
    let mut open = over_tls(&cluster, &token).expect("before");
    let parameters = [("user", "alice"), ("database", "named")];
    let prompt = || {
        cluster.replace_libraries(|old| old);
        token.clone()
    };
    let meanwhile = RawClient::connect_over_tls(&cluster, &parameters, Credentials::Prompted(&prompt));
    for client in [&mut open, &mut meanwhile.expect("meanwhile"), &mut over_tls(&cluster, &token).expect("after")] {
        assert_eq!(identity(client).as_deref(), Some("alice"));
    }
    // One that is no library at all lets nobody in, and leaves the sessions that are there.
    cluster.replace_libraries(|_| b"not a library".to_vec());
    over_tls(&cluster, &token).err().expect("no module");
    assert_eq!(identity(&mut open).as_deref(), Some("alice"));
    assert!(!cluster.log().contains("was terminated by"));
}

/// One file serves every version of PostgreSQL: it knows PAM, and finds the rest in the process.
#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn the_module_knows_nothing_of_postgresql() {
    let stage = PathBuf::from(env::var_os("PG_JWKS_STAGE").expect("PG_JWKS_STAGE"));
    let symbols = run_program(Command::new("nm").args(["-D", "--undefined-only"]).arg(stage.join("pam_pg_jwks.so")));
    let names: Vec<_> = symbols.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let own = |name: &&str| !name.contains("GLIBC") && !name.starts_with('_');
    let foreign: Vec<_> = names.into_iter().filter(own).collect();
    assert!(foreign.iter().all(|name| name.starts_with("pam_get_item")), "{foreign:?}");
}

/// PostgreSQL's own words for a method that it was built without: on Unix that is `sspi`, elsewhere it can be `pam`.
#[test]
fn a_postgresql_without_the_method_says_so() {
    let cluster = Cluster::options().without_extension().start();
    cluster.write_file("pg_hba.conf", "host all all all sspi\n");
    let error = "SELECT error FROM pg_hba_file_rules";
    let error: Option<String> = cluster.client().query_one(error, &[]).expect("pg_hba_file_rules").get(0);
    let words = "invalid authentication method \"sspi\": not supported by this build";
    assert_eq!(error.as_deref(), Some(words));
    let page = pg_test::documents::Page::of_repository("docs/login.md").text();
    assert!(page.contains(&words.replace("sspi", "pam")), "docs/login.md says something else");
}
