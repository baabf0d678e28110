//! `rls_examples/self_signed_api`: a service that signs its own tokens.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use pg_test::cluster::Options;
use pg_test::documents::Page;
use pg_test::node::node;
use pg_test::tls::encrypt;
use pg_test::{Alg, Cluster, Credentials, RawClient, SigningKey, now, pg_error};
use serde_json::{Value, json};

use crate::checks::{Guarded, assert_ends};
use crate::http::Response;
use crate::service::*;

const ACME: &str = "a0000000-0000-4000-8000-000000000000";
const GLOBEX: &str = "b0000000-0000-4000-8000-000000000000";

fn names(response: &Response) -> Vec<&str> {
    assert_eq!(response.status, 200, "{}", response.body);
    let rows = response.body.as_array().expect("an array");
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

#[track_caller]
fn assert_unauthorized(response: &Response) {
    assert_eq!((response.status, &response.body), (401, &json!({ "error": "invalid token" })));
    assert!(response.head.contains(r#"www-authenticate: bearer error="invalid_token""#), "{}", response.head);
}

/// The claims of Alice's tokens.
fn alices_claims(service: &Service, exp: i64) -> Value {
    let query = "SELECT id::text FROM users WHERE name = 'Alice'";
    let id: String = service.superuser().query_one(query, &[]).expect("Alice").get(0);
    let issuer = format!("http://127.0.0.1:{}", service.port);
    json!({ "iss": issuer, "aud": "self_signed_api", "sub": id, "iat": now(), "exp": exp })
}

#[test]
fn users_see_their_own_tenant() {
    let service = Service::start("own_tenant", &[]);
    let (alice, bob) = (service.token(ALICE), service.token(BOB));
    assert_eq!(names(&service.get("/api/users", &alice)), ["Alice", "Arthur"]);
    assert_eq!(names(&service.get("/api/users", &bob)), ["Bea", "Bob"]);
    assert_eq!(service.get("/api/tenants", &alice).body, json!([{ "id": ACME, "name": "Acme" }]));
    assert_eq!(service.get("/api/tenants", &bob).body, json!([{ "id": GLOBEX, "name": "Globex" }]));
    assert_eq!(names(&service.get("/api/users?name=ART", &alice)), ["Arthur"]);
    assert!(names(&service.get("/api/users?name=bob", &alice)).is_empty());
}

/// Another server trusts the service, and lets its users in with their tokens. `line` is of `pg_hba.conf`.
fn logs_in(options: Options, service: &Service, line: &str, log_in: fn(&Cluster, &[(&str, &str)], &str) -> RawClient) {
    let issuer = format!("http://127.0.0.1:{}", service.port);
    let cluster = options
        .setting("pg_jwks.issuer", &issuer)
        .setting("pg_jwks.jwks_uri", &format!("{issuer}/.well-known/jwks.json"))
        .setting("pg_jwks.audience", "self_signed_api")
        .setting("pg_jwks.allow_insecure_http", "on")
        .start();
    let id: String = alices_claims(service, 0)["sub"].as_str().expect("a user").to_owned();
    cluster.client().batch_execute(&format!("CREATE EXTENSION pg_jwks; CREATE ROLE \"{id}\" LOGIN")).expect("a role");
    if line.contains(" pam ") {
        let service = format!("auth required {{module}} issuer={issuer}\naccount required {{module}}\n");
        cluster.write_pam_service("pg_jwks", &service);
    }
    let hba = format!("{}\nlocal all all trust\nhost all postgres all trust\n", line.replace("{issuer}", &issuer));
    encrypt(&cluster);
    cluster.write_file("pg_hba.conf", &hba);
    cluster.restart();
    let parameters = [("user", &*id), ("database", "postgres")];
    let mut client = log_in(&cluster, &parameters, &service.token(ALICE));
    assert_eq!(client.value("SELECT auth.user_id()"), Some(id.clone()));
}

#[test]
#[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
fn a_token_of_the_service_is_a_password() {
    let service = Service::start("password_login", &[]);
    let options = Cluster::options().setting("shared_preload_libraries", "pg_jwks").with_pam_services();
    logs_in(options, &service, "hostssl all all all pam pamservice=pg_jwks", |cluster, parameters, token| {
        RawClient::connect_over_tls(cluster, parameters, Credentials::Cleartext(token)).expect("a login")
    });
}

#[test]
#[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
fn a_token_of_the_service_is_an_oauth_login() {
    let service = Service::start("oauth_login", &[]);
    let options = Cluster::options().setting("oauth_validator_libraries", "pg_jwks");
    let line = "host all all all oauth issuer=\"{issuer}\" scope=\"\"";
    logs_in(options, &service, line, |cluster, parameters, token| {
        RawClient::connect_with(cluster, parameters, Credentials::Bearer(token)).expect("a login")
    });
}

#[test]
fn a_token_does_not_outlive_a_membership() {
    let service = Service::start("membership", &[]);
    let alice = service.token(ALICE);
    assert_eq!(names(&service.get("/api/tenants", &alice)), ["Acme"]);
    let change = |statement: &str| service.superuser().batch_execute(statement).expect(statement);
    change(&format!("UPDATE users SET tenant_id = '{GLOBEX}' WHERE name = 'Alice'"));
    assert_eq!(names(&service.get("/api/users", &alice)), ["Alice", "Bea", "Bob"]);
    change("DELETE FROM users WHERE name = 'Alice'");
    assert!(names(&service.get("/api/users", &alice)).is_empty());
    assert!(names(&service.get("/api/tenants", &alice)).is_empty());
}

#[test]
fn the_linter_has_nothing_to_say() {
    let query = "SELECT concat_ws(' | ', severity, object, problem) FROM auth.rls_lint() WHERE accepted IS NULL";
    let found = SERVER.cluster.connect("postgres", "service").query(query, &[]).expect("auth.rls_lint()");
    assert_eq!(found.iter().map(|row| row.get(0)).collect::<Vec<String>>(), [""; 0]);
}

#[test]
fn tokens_that_the_service_did_not_sign_are_refused() {
    let service = Service::start("forged", &[]);
    let kid = service.jwks()["keys"][0]["kid"].as_str().expect("a kid").to_owned();
    let claims = alices_claims(&service, now() + 600);
    let good = service.token(ALICE);
    let (_, payload_and_signature) = good.split_once('.').expect("three parts");
    for forged in [
        SigningKey::generate(Alg::Es256, &kid).sign(&claims),
        SigningKey::generate(Alg::Es256, "other").sign(&claims),
        SigningKey::from_secret(Alg::Hs256, &kid, service.jwks().to_string().as_bytes()).sign(&claims),
        pg_test::keys::compact(br#"{"alg":"none"}"#, claims.to_string().as_bytes(), b""),
        format!("eyJhbGciOiJub25lIn0.{payload_and_signature}"),
        good[..good.len() - 8].to_owned(),
        format!("{good}.{good}"),
        "x".to_owned(),
        "a.b.c".to_owned(),
        "a".repeat(15_000),
    ] {
        assert_unauthorized(&service.get("/api/users", &forged));
        assert_unauthorized(&service.get("/api/tenants", &forged));
    }
    assert_eq!(names(&service.get("/api/users", &good)), ["Alice", "Arthur"]);
}

#[test]
fn without_a_token_nothing_is_answered() {
    let service = Service::start("no_token", &[]);
    let token = service.token(ALICE);
    for path in ["/api/users", "/api/tenants"] {
        assert_unauthorized(&service.request(&format!("GET {path}"), &[], ""));
        for header in ["", "Bearer", "Bearer ", &token, &format!("Basic {token}"), &format!("Bearer {token} {token}")] {
            assert_unauthorized(&service.request(&format!("GET {path}"), &[("Authorization", header)], ""));
        }
        assert_unauthorized(&service.request(&format!("GET {path}?access_token={token}"), &[], ""));
    }
}

#[test]
fn expired_tokens_are_refused() {
    let service = Service::start("expired", &[("TOKEN_LIFE", "3")]);
    service.set("pg_jwks.leeway", "0s");
    let token = service.token(ALICE);
    assert_eq!(names(&service.get("/api/users", &token)), ["Alice", "Arthur"]);
    thread::sleep(Duration::from_secs(4));
    assert_unauthorized(&service.get("/api/users", &token));
}

#[test]
fn logins_tell_nobody_who_exists() {
    let service = Service::start("logins", &[]);
    let wrong = service.log_in(ALICE, "wrong");
    assert_eq!((wrong.status, &wrong.body), (401, &json!({ "error": "wrong email or password" })));
    for (email, password) in [
        ("nobody@acme.example", "wrong"),
        ("nobody@acme.example", ""),
        // She has no password yet.
        ("bea@globex.example", ""),
        ("' OR true --", "wrong"),
        ("alice@acme.example' --", "wrong"),
        ("%", "wrong"),
    ] {
        let response = service.log_in(email, password);
        assert_eq!((response.status, &response.body), (401, &wrong.body), "{email}");
    }
    for body in ["", "{", "null", "[]", "7", r#"{"email":["a"],"password":{}}"#, r#"{"email":"a\u0000","password":""}"#]
    {
        assert_eq!(service.request("POST /api/token", &[], body).status, 400, "{body}");
    }
    assert_eq!(service.log_in(ALICE, &"a".repeat(10_000)).status, 413);
}

#[test]
fn inputs_are_not_sql() {
    let service = Service::start("injection", &[]);
    let alice = service.token(ALICE);
    for input in [
        "'%20OR%20true%20--",
        "')%20%3E%200%20OR%20true%20--",
        "%25",
        "_",
        "'%3B%20SELECT%20auth.jwt_session_clear()%3B%20--",
        "$1",
        "%5C'",
    ] {
        let response = service.get(&format!("/api/users?name={input}"), &alice);
        assert!(names(&response).is_empty(), "{input}: {}", response.body);
    }
    assert_eq!(service.get("/api/users?name=a%00", &alice).status, 400);
    for token in ["x',true);DROP TABLE users;--", "x'||current_user||'"] {
        assert_unauthorized(&service.get("/api/users", token));
    }
    assert_eq!(names(&service.get("/api/users", &alice)), ["Alice", "Arthur"]);
}

/// More requests at once than connections, of two tenants and of nobody: each sees what it may, and no more.
#[test]
fn callers_who_share_connections_share_nothing_else() {
    let service = Service::start("concurrent", &[("POOL_SIZE", "3")]);
    let (alice, bob) = (service.token(ALICE), service.token(BOB));
    let forged = SigningKey::generate(Alg::Es256, "k").sign(&alices_claims(&service, now() + 600));
    let service = &service;
    let as_alice = || {
        assert_eq!(names(&service.get("/api/users", &alice)), ["Alice", "Arthur"]);
        assert_eq!(names(&service.get("/api/tenants", &alice)), ["Acme"]);
    };
    let as_bob = || {
        assert_eq!(names(&service.get("/api/users", &bob)), ["Bea", "Bob"]);
        assert_eq!(names(&service.get("/api/tenants", &bob)), ["Globex"]);
    };
    let as_forger = || {
        assert_unauthorized(&service.get("/api/users", &forged));
        assert_unauthorized(&service.request("GET /api/users", &[], ""));
    };
    let with_bad_input = || assert_eq!(service.get("/api/users?name=%00", &bob).status, 400);
    thread::scope(|scope| {
        for caller in 0..20_usize {
            let turns: [&(dyn Fn() + Sync); 4] = [&as_alice, &as_bob, &as_forger, &with_bad_input];
            scope.spawn(move || (0..8).for_each(|round| turns[(caller + round) % turns.len()]()));
        }
    });
    let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'concurrent' AND usename = 'api'";
    let connections: i64 = service.superuser().query_one(query, &[]).expect("pg_stat_activity").get(0);
    assert!((1..=3).contains(&connections), "{connections}");
}

#[test]
fn keys_rotate_while_the_service_runs() {
    let service = Service::start("rotation", &[]);
    let first = service.key_file();
    let old = service.token(ALICE);
    assert_eq!(names(&service.get("/api/users", &old)), ["Alice", "Arthur"]);

    generate_key(service.keys.path());
    service.reload_keys(2);
    let new = service.token(ALICE);
    assert_ne!(old.split('.').next(), new.split('.').next(), "another kid in the header");
    for token in [&new, &old] {
        assert_eq!(names(&service.get("/api/users", token)), ["Alice", "Arthur"]);
    }

    fs::remove_file(first).expect("the old key removed");
    service.reload_keys(1);
    service.superuser().batch_execute("SELECT auth.jwks_refresh()").expect("a refresh");
    assert_unauthorized(&service.get("/api/users", &old));
    assert_eq!(names(&service.get("/api/users", &new)), ["Alice", "Arthur"]);
}

#[test]
fn keys_can_come_from_a_file() {
    let service = Service::start("key_file", &[]);
    let path = SERVER.cluster.write_file("service_keys.json", &service.jwks().to_string());
    service.set("pg_jwks.allow_insecure_http", "off");
    service.set("pg_jwks.jwks_uri", &format!("file:{}", path.display()));
    let token = service.token(BOB);
    assert_eq!(names(&service.get("/api/users", &token)), ["Bea", "Bob"]);
    let query = "SELECT source FROM auth.jwks() WHERE issuer = current_setting('pg_jwks.issuer')";
    let source: String = service.superuser().query_one(query, &[]).expect("its only key").get(0);
    assert_eq!(source, format!("file {:?}", path.display().to_string()));
}

#[test]
fn without_keys_the_service_is_unavailable() {
    let service = Service::start("unavailable", &[]);
    let token = service.token(ALICE);
    service.set("pg_jwks.jwks_uri", "http://127.0.0.1:1/jwks.json");
    let response = service.get("/api/users", &token);
    assert_eq!((response.status, &response.body), (503, &json!({ "error": "tokens cannot be verified now" })));
    assert!(response.head.contains("retry-after: 5"), "{}", response.head);
}

#[test]
fn private_keys_stay_private() {
    let service = Service::start("private", &[]);
    let file = service.key_file();
    assert_eq!(fs::metadata(&file).expect("the key").permissions().mode() & 0o777, 0o600);
    let private: Value = serde_json::from_slice(&fs::read(&file).expect("the key")).expect("a JWK");
    let public = &service.jwks()["keys"][0];
    assert!(private["d"].is_string());
    let mut members: Vec<_> = public.as_object().expect("a JWK").keys().collect();
    members.sort();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!((&public["x"], &public["kid"]), (&private["x"], &private["kid"]));
}

#[test]
fn the_services_role_is_bound() {
    let service = Service::start("bound", &[]);
    let mut api = SERVER.cluster.connect("api", &service.db);
    let count = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM tenants)";
    assert_eq!(api.query_one(count, &[]).expect("counts").get::<_, i64>(0), 0);
    let token = service.token(ALICE);
    let error = api.execute("SELECT auth.jwt_session_init($1)", &[&token]).expect_err("beyond the transaction");
    assert_eq!(pg_error(&error).sqlstate, "55000");
    api.batch_execute("BEGIN").expect("a transaction");
    api.execute("SELECT auth.jwt_session_init($1, true)", &[&token]).expect("an identity");
    assert_eq!(api.query_one(count, &[]).expect("counts").get::<_, i64>(0), 3);
    for statement in [
        "SELECT * FROM credentials",
        "INSERT INTO users SELECT * FROM users",
        "UPDATE users SET tenant_id = DEFAULT",
        "DELETE FROM tenants",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        r#"SET pg_jwks.session = '{"sub":"evil"}'"#,
        "SET pg_jwks.audience = '*'",
    ] {
        api.batch_execute("SAVEPOINT s").expect("a savepoint");
        let error = api.batch_execute(statement).expect_err(statement);
        assert_eq!(pg_error(&error).sqlstate, "42501", "{statement}");
        api.batch_execute("ROLLBACK TO s").expect("a savepoint");
    }
}

#[test]
fn the_policies_hold_alone() {
    let service = Service::start("alone", &[]);
    // The table is also that of the memberships, and counts as such only if its owner, who is changed here, is trusted.
    let trust = "GRANT CREATE ON SCHEMA public TO api WITH GRANT OPTION";
    SERVER.cluster.connect("postgres", &service.db).batch_execute(trust).expect("GRANT");
    Guarded {
        connect: &|role| SERVER.cluster.connect(role, &service.db),
        login: "api",
        role: "api",
        token: service.token(ALICE),
        // Bob's row becomes nobody's.
        homeless: service.token(BOB),
        table: "users",
        home: "tenant_id",
        item: "name",
        own: &["Alice", "Arthur"],
        other: "Bob",
    }
    .assert_policies_hold();
}

#[test]
fn an_identity_ends_with_its_token() {
    let service = Service::start("ends", &[("TOKEN_LIFE", "5")]);
    service.set("pg_jwks.leeway", "0s");
    let mut api = SERVER.cluster.connect("api", &service.db);
    let mut request = api.transaction().expect("a transaction");
    let token = service.token(ALICE);
    request.execute("SELECT auth.jwt_session_init($1, true)", &[&token]).expect("a good token");
    let expires_at = "SELECT extract(epoch FROM auth.expires_at())::bigint";
    let end = request.query_one(expires_at, &[]).expect("an exp").get(0);
    assert_ends(&mut request, end, &["SELECT name FROM users", "SELECT name FROM tenants", "SELECT auth.user_id()"]);
}

#[test]
fn it_says_what_it_needs() {
    let cluster = &SERVER.cluster;
    let keys = tempfile::tempdir().expect("a temporary folder");
    let start = |role: &str| {
        let mut command = node(&EXAMPLE);
        command.arg("dist/server.js").env("DATABASE_URL", url(cluster, role, "service"));
        refusal_of(command.env("KEYS_FOLDER", keys.path()))
    };
    let mut command = node(&EXAMPLE);
    let help = refusal_of(command.arg("dist/server.js").env_remove("DATABASE_URL"));
    assert!(help.contains("Set DATABASE_URL") && help.contains("KEYS_FOLDER"), "{help}");
    assert!(start("api").contains("run npm run generate-key"));
    let key = generate_key(keys.path());
    fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("permissions");
    assert!(start("api").contains("is a private key that others may read"));
    assert!(start("postgres").contains(r#""postgres" is a superuser, has BYPASSRLS or owns tables"#));
}

/// On a stock Debian the owner of the tables comes in by the socket alone.
#[test]
fn the_commands_of_the_readme_run_where_the_owner_has_no_password() {
    let cluster = Cluster::options().setting("shared_preload_libraries", "pg_jwks").start();
    cluster.write_file("pg_hba.conf", "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
    cluster.restart();
    let commands = &Page::of_repository("rls_examples/self_signed_api/README.md").blocks("Run it", "sh")[0];
    assert!(!commands.contains("OWNER_DATABASE_URL"));
    let installed = commands.lines().filter(|line| *line != "npm ci" && !line.contains("npm start"));
    let commands = installed
        .collect::<Vec<_>>()
        .join("\n")
        .replace("sudo -u postgres ", "")
        .replace(r"-c '\password api'", "-c \"ALTER ROLE api PASSWORD 'password'\"");
    let copy = node(&EXAMPLE).get_current_dir().expect("the installed copy").to_owned();
    let keys = tempfile::tempdir().expect("a temporary folder");
    let run = |commands: &str| {
        let mut command = cluster.shell(&format!("cd {}\n{commands}", copy.display()));
        command.env("KEYS_FOLDER", keys.path()).env("PGHOST", cluster.socket_dir()).env("PGUSER", "postgres");
        let output = command.output().expect("bash");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let (succeeds, said) = run(&commands);
    assert!(succeeds, "{said}");
    let (_, said) = run("psql -Atd app -c 'SELECT count(*) FROM credentials'");
    assert_eq!(said, "1\n");
    // Nobody of that name, and names that would be SQL.
    let (_, said) = run("npm run --silent set-password carol@acme.example | psql -d app");
    assert!(said.contains("There is no user carol@acme.example."), "{said}");
    let (succeeds, said) = run("npm run --silent set-password \"a'b@acme.example\" | psql -d app");
    assert!(!succeeds && said.contains("set-password alice@acme.example"), "{said}");
}
