//! Values that come from configuration files and connections, and cannot be applied: nothing is accepted until they
//! are right, for the defaults in their place may be laxer.

use std::sync::LazyLock;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use pg_test::app::assignment;
use pg_test::login::{init, token};
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, PgError, SigningKey, jwks, sql};
use postgres::Client;

const ISS: &str = "https://issuer.example";

/// A server whose configuration ends with lines that a test can change.
struct Configured {
    cluster: Cluster,
    key: SigningKey,
}

impl Configured {
    /// A server that starts with these lines.
    fn start(preload: &str, lines: &[(&str, &str)]) -> Self {
        let key = SigningKey::generate(Alg::Es256, "k");
        let keys = jwks(&[&key]).to_string();
        let mut options = Cluster::options()
            .setting("shared_preload_libraries", preload)
            .setting("pg_jwks.issuer", ISS)
            .setting("pg_jwks.audience", "app")
            .setting("pg_jwks.jwks", &keys);
        for (name, value) in lines {
            options = options.setting(&format!("pg_jwks.{name}"), value);
        }
        let cluster = options.setting("include_if_exists", "changing.conf").start();
        let schema = "CREATE EXTENSION pg_jwks; CREATE ROLE plain LOGIN";
        cluster.client().batch_execute(schema).expect("CREATE EXTENSION");
        Self { cluster, key }
    }

    /// Replaces the last lines, and waits until new sessions have them.
    fn configure(&self, lines: &[(&str, &str)]) {
        // A setting that any session can see tells when the file has been read.
        let stamp = format!("{:?}", Instant::now());
        let lines: String = lines.iter().map(|(name, value)| assignment(name, value) + "\n").collect();
        self.cluster.write_file("changing.conf", &format!("{lines}test.stamp = '{stamp}'\n"));
        self.cluster.reload();
        eventually("the file", || {
            let seen: Option<String> =
                sql::value(&mut self.cluster.client(), "SELECT current_setting('test.stamp', true)");
            (seen.as_deref() == Some(&stamp)).then_some(())
        });
    }

    /// A new session of a plain role, with `options` as in PGOPTIONS.
    fn connect(&self, options: &str) -> Client {
        let mut config = self.cluster.config();
        self.cluster.try_connect(config.user("plain").options(options)).expect("a session")
    }

    fn good_token(&self) -> String {
        token(&self.key, ISS)
    }

    /// A login in a new session.
    fn login(&self, options: &str) -> Result<(), PgError> {
        init(&mut self.connect(options), &self.good_token())
    }

    /// A login in a new session is refused because of this setting.
    #[track_caller]
    fn names(&self, options: &str, name: &str) {
        let error = self.login(options).expect_err("refused");
        assert_eq!((&*error.sqlstate, &*error.message), ("55000", "JWT rejected: settings invalid"), "{error:?}");
        let detail = format!("The configured value of \"pg_jwks.{name}\" could not be applied.");
        assert_eq!(error.detail.as_deref(), Some(&*detail));
        assert!(error.hint.is_some(), "{error:?}");
    }
}

/// A server that does not preload the library, with good values and these; for one test at a time.
fn not_preloading(lines: &[(&str, &str)]) -> MutexGuard<'static, Configured> {
    static SERVER: LazyLock<Mutex<Configured>> = LazyLock::new(|| Mutex::new(Configured::start("", &[])));
    let server = SERVER.lock();
    server.configure(lines);
    server
}

/// Values that no session accepts. Each default is laxer than what was meant, or at least another.
const BAD: [(&str, &str); 11] = [
    ("required_scope", "r\u{e9}ad"),
    ("token_type", "acess"),
    ("max_token_age", "soon"),
    ("max_token_age", "-1"),
    ("leeway", "1h"),
    ("allowed_algorithms", "ES265"),
    ("role_claim", "roles..admin"),
    ("ca_file", "/does/not/exist.pem"),
    ("providers", "[{\"issuer\": \"https://issuer.example\", \"required_scopes\": \"read\"}]"),
    ("jwks_uri", "issuer.example/jwks"),
    ("jwks_cache_ttl", "0"),
];

#[test]
fn a_bad_value_in_postgresql_conf_closes_the_door() {
    let configured = not_preloading(&[]);
    configured.login("").expect("good values");
    for (name, value) in BAD {
        configured.configure(&[(name, value)]);
        let mark = configured.cluster.log_mark();
        configured.names("", name);
        let log = configured.cluster.log_since(mark);
        assert!(log.contains("WARNING") && log.contains(&format!("pg_jwks.{name}")), "{log}");
    }
    configured.configure(&[]);
    configured.login("").expect("good values again");
}

#[test]
fn a_bad_value_in_a_preloading_servers_configuration_closes_the_door() {
    let configured = Configured::start("pg_jwks", &[("token_type", "acess"), ("required_scope", "\u{e9}")]);
    assert!(configured.cluster.log().contains("pg_jwks.token_type"), "a WARNING");
    configured.names("", "required_scope");
    configured.configure(&[("required_scope", "read")]);
    configured.names("", "token_type");
    configured.configure(&[("required_scope", ""), ("token_type", "any")]);
    configured.login("").expect("good values");
    // A running server keeps the last good value.
    configured.configure(&[("required_scope", ""), ("token_type", "acess")]);
    configured.login("").expect("the last good value");
    configured.configure(&[("required_scope", "read"), ("token_type", "any")]);
    assert_eq!(configured.login("").expect_err("no scope").message, "JWT rejected: scope missing");
}

#[test]
fn a_connection_cannot_undo_the_configuration() {
    let strict = [
        ("required_scope", "read", ""),
        ("token_type", "access", "any"),
        ("max_token_age", "1", "0"),
        ("leeway", "0", "300"),
        ("allowed_algorithms", "RS256", "ES256"),
        ("audience", "shop", "*"),
        ("issuer", "https://other.example", ISS),
    ];
    let configured = not_preloading(&[]);
    for (name, meant, wished) in strict {
        configured.configure(&[(name, meant)]);
        configured.names(&format!("-c pg_jwks.{name}={wished}"), name);
        configured.names(&format!("-c pg_jwks.{name}={meant}"), name);
    }
    configured.configure(&[]);
    for holder in ["DATABASE postgres", "ROLE plain"] {
        let mut admin = configured.cluster.client();
        admin.batch_execute(&format!("ALTER {holder} SET pg_jwks.required_scope = 'read'")).expect("ALTER");
        assert_eq!(configured.login("").expect_err("no scope").message, "JWT rejected: scope missing");
        configured.names("-c pg_jwks.required_scope=", "required_scope");
        admin.batch_execute(&format!("ALTER {holder} RESET pg_jwks.required_scope")).expect("ALTER");
    }
}

#[test]
fn what_a_session_sets_before_the_library_is_loaded_does_not_count() {
    let configured = not_preloading(&[("required_scope", "read")]);
    let stranger = SigningKey::generate(Alg::Es256, "k");
    for (name, wished) in [
        ("required_scope", String::new()),
        ("audience", "*".into()),
        ("issuer", "evil".into()),
        ("jwks", jwks(&[&stranger]).to_string()),
        ("providers", serde_json::json!([{ "issuer": "evil", "jwks": jwks(&[&stranger]) }]).to_string()),
    ] {
        let mut client = configured.connect("");
        client.batch_execute(&format!("SET {}", assignment(name, &wished))).expect("no library, no check");
        let error = init(&mut client, &configured.good_token()).expect_err("no scope");
        assert_eq!(error.message, "JWT rejected: scope missing", "{name}");
        let forged = init(&mut client, &token(&stranger, "evil")).expect_err("a stranger's token");
        assert_eq!(forged.message, "JWT rejected: issuer not accepted", "{name}");
        let id: Option<String> = client.query_one("SELECT auth.user_id()", &[]).expect("SELECT").get(0);
        assert_eq!(id, None);
    }
}
