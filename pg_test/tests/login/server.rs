//! Servers whose sessions begin with a token, and what the tests have in common.

use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::cluster::{LogMark, Options};
use pg_test::parallel::BIG;
use pg_test::tls::encrypt;
use pg_test::wait::eventually;
use pg_test::{Cluster, Credentials, Issuer, PgError, RawClient, Refused, claims_with, jwks};
use postgres::Client;
use serde_json::{Value, json};

pub use pg_test::offline::{ISSUER, KEY};

/// How a token gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// PostgreSQL's own, from version 18 on.
    OAuth,
    /// As the password, which PAM verifies.
    Password,
}

/// Makes a test for each door of functions that take one.
macro_rules! at_each_door {
    ($($name:ident),* $(,)?) => {
        mod oauth {
            $(
                #[test]
                #[cfg_attr(before_pg18, ignore = "OAuth logins came with PostgreSQL 18")]
                fn $name() {
                    super::$name(crate::server::Door::OAuth);
                }
            )*
        }

        mod password {
            $(
                #[test]
                #[cfg_attr(without_pam, ignore = "PostgreSQL is built without PAM, or nobody may mount here")]
                fn $name() {
                    super::$name(crate::server::Door::Password);
                }
            )*
        }
    };
}
pub(crate) use at_each_door;

/// Who may log in to some databases.
#[derive(Clone, Copy)]
pub struct Rule<'a> {
    pub databases: &'a str,
    pub issuer: &'a str,
    pub scope: &'a str,
    /// More options, which each door writes in the same way.
    pub more: &'a str,
}

/// Needs scope `login` and nothing more.
pub const RULE: Rule = Rule { databases: "named", issuer: ISSUER, scope: "login", more: "" };

impl Door {
    /// The server that most tests share. What a rule asks for is chosen by the database.
    pub fn server(self) -> &'static Cluster {
        static OAUTH: LazyLock<Cluster> = LazyLock::new(|| shared(Door::OAuth));
        static PASSWORD: LazyLock<Cluster> = LazyLock::new(|| shared(Door::Password));
        match self {
            Self::OAuth => &OAUTH,
            Self::Password => &PASSWORD,
        }
    }

    /// The settings that every server of these tests has.
    pub fn options(self) -> Options {
        let options = Cluster::options()
            .setting("pg_jwks.audience", "app")
            .setting("pg_jwks.allow_insecure_http", "on")
            .for_many_tests()
            .setting("max_connections", "250");
        match self {
            Self::OAuth => options.setting("oauth_validator_libraries", "pg_jwks"),
            Self::Password => options.setting("shared_preload_libraries", "pg_jwks").with_pam_services(),
        }
    }

    /// The settings of a server that has the key of [`ISSUER`].
    pub fn of_key(self) -> Options {
        self.options().setting("pg_jwks.issuer", ISSUER).setting("pg_jwks.jwks", &jwks(&[&KEY]).to_string())
    }

    /// The settings of a server that has the keys of `issuer`.
    pub fn of_issuer(self, issuer: &Issuer) -> Options {
        self.options().setting("pg_jwks.issuer", issuer.url())
    }

    /// Puts these rules before the lines of `pg_hba.conf` that trust everybody.
    pub fn authenticate(self, cluster: &Cluster, rules: &[Rule], ident: &str) {
        let lines: Vec<String> = rules.iter().map(|rule| self.line(cluster, rule)).collect();
        authenticate(cluster, &lines.join("\n"), ident);
    }

    fn line(self, cluster: &Cluster, rule: &Rule) -> String {
        let Rule { databases, issuer, scope, more } = rule;
        match self {
            Self::OAuth => format!("host {databases} all all oauth issuer=\"{issuer}\" scope=\"{scope}\" {more}"),
            Self::Password => {
                let service = format!("pg_jwks_{databases}");
                let lines = format!(
                    "auth required {{module}} issuer={issuer} [scope={scope}] {more}\naccount required {{module}}\n"
                );
                cluster.write_pam_service(&service, &lines);
                format!("hostssl {databases} all all pam pamservice={service}")
            }
        }
    }

    /// A server whose database `named` asks for tokens of `issuer`; others trust everybody.
    pub fn asking(self, options: Options, issuer: &str) -> Cluster {
        let cluster = self.started(options);
        cluster.client().batch_execute("CREATE DATABASE named").expect("CREATE DATABASE");
        self.authenticate(&cluster, &[Rule { issuer, ..RULE }], "");
        cluster
    }

    /// Starts a server with the extension, roles `app` and `bob`, and a table that shows each user their own rows.
    pub fn started(self, options: Options) -> Cluster {
        let cluster = options.start();
        if self == Self::Password {
            encrypt(&cluster);
        }
        let mut template = cluster.connect("postgres", "template1");
        template
            .batch_execute(
                "CREATE EXTENSION pg_jwks;
                 CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE app LOGIN;
                 CREATE ROLE standby LOGIN REPLICATION;",
            )
            .expect("the extension and roles");
        template.batch_execute(BIG).expect("a table");
        drop(template);
        cluster
    }

    /// Logs in with a token.
    pub fn connect(self, cluster: &Cluster, user: &str, db: &str, token: &str) -> Result<RawClient, Refused> {
        self.connect_with(cluster, &[("user", user), ("database", db)], token)
    }

    /// Logs in with these parameters of the start-up message.
    pub fn connect_with(
        self,
        cluster: &Cluster,
        parameters: &[(&str, &str)],
        token: &str,
    ) -> Result<RawClient, Refused> {
        match self {
            Self::OAuth => RawClient::connect_with(cluster, parameters, Credentials::Bearer(token)),
            Self::Password => RawClient::connect_over_tls(cluster, parameters, Credentials::Cleartext(token)),
        }
    }

    /// Logs in at the shared server.
    pub fn login(self, user: &str, db: &str, token: &str) -> Result<RawClient, Refused> {
        self.connect(self.server(), user, db, token)
    }

    /// Logs in as alice in a database that takes `sub` for the role.
    pub fn alice(self) -> RawClient {
        self.login("alice", "named", &KEY.sign(&good())).expect("a good token")
    }

    /// What every refused client hears.
    pub fn refusal(self, user: &str) -> String {
        match self {
            Self::OAuth => format!("OAuth bearer authentication failed for user \"{user}\""),
            Self::Password => format!("PAM authentication failed for user \"{user}\""),
        }
    }

    /// The kind of tokens, as the log calls them.
    pub fn kind(self) -> &'static str {
        match self {
            Self::OAuth => "OAuth",
            Self::Password => "password",
        }
    }

    /// Where the rule is, as the log calls that.
    pub fn place(self) -> &'static str {
        match self {
            Self::OAuth => "The line of pg_hba.conf",
            Self::Password => "The PAM service",
        }
    }

    /// Checks `system_user`, where there is one: of OAuth the provider's name, of PAM the role's.
    #[track_caller]
    pub fn assert_system_user(self, client: &mut RawClient, name: &str, role: &str) {
        let Ok(rows) = client.query("SELECT system_user") else {
            assert_eq!(self, Self::Password, "no system_user");
            return;
        };
        let expected = match self {
            Self::OAuth => format!("oauth:{name}"),
            Self::Password => format!("pam:{role}"),
        };
        assert_eq!(rows[0][0].as_deref(), Some(expected.as_str()));
    }
}

fn shared(door: Door) -> Cluster {
    let cluster = door.started(
        door.of_key()
            .setting(
                "pg_jwks.providers",
                &json!([{ "issuer": "https://other.test", "jwks": jwks(&[&KEY]) }]).to_string(),
            )
            .setting("pg_jwks.role_claim", "roles")
            .setting("pg_jwks.role_map", "writer=app, boss=postgres")
            .setting("pg_jwks.audit_log", "all")
            .setting("pg_jwks.audit_claims", "sub")
            .setting("pg_jwks.leeway", "0"),
    );
    for db in ["named", "mapped", "delegated", "discovery", "unconfigured", "scoped"] {
        cluster.client().batch_execute(&format!("CREATE DATABASE {db}")).expect("CREATE DATABASE");
    }
    door.authenticate(
        &cluster,
        &[
            RULE,
            Rule { databases: "named_latin1", ..RULE },
            Rule { databases: "mapped", more: "map=people", ..RULE },
            Rule { databases: "delegated", more: "delegate_ident_mapping=1", ..RULE },
            Rule { databases: "discovery", issuer: &format!("{ISSUER}/.well-known/openid-configuration"), ..RULE },
            Rule { databases: "scoped", scope: "login db:read", ..RULE },
            Rule { databases: "unconfigured", issuer: "https://nobody.test", ..RULE },
            Rule { databases: "replication", more: "map=people", ..RULE },
        ],
        "people /^(.*)@corp\\.example$ \\1\npeople root@corp.example postgres\npeople root@corp.example standby\n\
         people root@corp.example pg_monitor\npeople root@corp.example ghost",
    );
    cluster
}

/// Puts these lines of `pg_hba.conf` before the one that trusts everybody.
pub fn authenticate(cluster: &Cluster, hba: &str, ident: &str) {
    cluster.write_file("pg_hba.conf", &format!("{hba}\nlocal all all trust\nhost all all all trust\n"));
    cluster.write_file("pg_ident.conf", &format!("{ident}\n"));
    cluster.reload();
    let errors = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL";
    let wrong = cluster.client().query(errors, &[]).expect("pg_hba_file_rules");
    assert!(wrong.is_empty(), "{wrong:?}");
    eventually("a reload", || cluster.log().contains("received SIGHUP").then_some(()));
    // The postmaster reads the files right after it has said so.
    sleep(Duration::from_millis(100));
}

/// Good claims of alice, who is called like the role.
pub fn good() -> Value {
    with(json!({}))
}

/// Good claims with these instead; null ones are left out.
pub fn with(changes: Value) -> Value {
    let mut all = claims_with(ISSUER, "alice", &changes);
    let object = all.as_object_mut().expect("an object");
    object.entry("scope").or_insert_with(|| json!("login"));
    object.retain(|_, value| !value.is_null());
    all
}

/// A token of these claims.
pub fn token_with(changes: Value) -> String {
    KEY.sign(&with(changes))
}

/// A session of the superuser, without a token: the Unix socket is trusted.
pub fn superuser(cluster: &Cluster, db: &str) -> Client {
    let mut config = postgres::Config::new();
    config.host_path(cluster.socket_dir()).port(cluster.port()).user("postgres").dbname(db);
    cluster.try_connect(&mut config).expect("a session")
}

/// Runs statements that must succeed.
#[track_caller]
pub fn run(client: &mut RawClient, statements: &str) {
    client.query(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

/// Runs statements that must fail.
#[track_caller]
pub fn failed(client: &mut RawClient, statements: &str) -> PgError {
    client.query(statements).expect_err(statements)
}

/// Who the session says it is.
#[track_caller]
pub fn identity(client: &mut RawClient) -> Option<String> {
    let by_setting = client.value("SELECT nullif(current_setting('pg_jwks.session'), '')::jsonb ->> 'sub'");
    let by_reader = client.value("SELECT auth.user_id()");
    assert_eq!(by_setting, by_reader, "the setting and the reader");
    by_reader
}

/// What the log has after `mark`, once it has `words`.
#[track_caller]
pub fn logged(cluster: &Cluster, mark: LogMark, words: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = cluster.log_since(mark);
        if log.contains(words) {
            return log;
        }
        assert!(Instant::now() < deadline, "no \"{words}\" in the log:\n{log}");
        sleep(Duration::from_millis(10));
    }
}
