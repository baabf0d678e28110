//! What the examples of moving to pg_jwks have in common.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use pg_test::tls::encrypt;
use pg_test::{Alg, Cluster, Credentials, Issuer, PgError, RawClient, Refused, SigningKey, jwks, now, pg_error};
use postgres::types::FromSqlOwned;
use postgres::{Client, GenericClient};
use serde_json::{Value, json};

const DATABASE: &str = "app";

/// A folder of `rls_examples`.
fn example(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../rls_examples")).join(name)
}

/// A server set up as an example says, with a key of its issuer.
pub struct Example {
    pub cluster: Cluster,
    name: &'static str,
    key: SigningKey,
    issuer: String,
    audience: String,
}

impl Example {
    /// Starts a server with the settings of the example's `pg_jwks.conf`.
    pub fn start(name: &'static str, alg: Alg) -> Self {
        Self::start_with(name, alg, &[])
    }

    /// Starts a server with more settings than those.
    pub fn start_with(name: &'static str, alg: Alg, more: &[(&str, &str)]) -> Self {
        let conf = fs::read_to_string(example(name).join("pg_jwks.conf")).expect("pg_jwks.conf");
        let lines = conf.lines().filter(|line| !line.starts_with('#'));
        let settings: Vec<(&str, &str)> = lines
            .map(|line| line.split_once(" = ").unwrap_or_else(|| panic!("{line}")))
            .map(|(name, value)| (name, value.trim_matches('\'')))
            .collect();
        let value = |wanted: &str| {
            let found = settings.iter().find(|(name, _)| *name == wanted);
            found.unwrap_or_else(|| panic!("{wanted} in pg_jwks.conf")).1.to_owned()
        };
        let (issuer, audience) = (value("pg_jwks.issuer"), value("pg_jwks.audience"));
        let all = settings.iter().chain(more);
        let options = Cluster::options().with_pam_services_if_possible();
        let options = all.fold(options, |options, (name, value)| options.setting(name, value));
        let cluster = options.start();
        cluster.client().batch_execute(&format!("CREATE DATABASE {DATABASE}")).expect("CREATE DATABASE");
        Self { cluster, name, key: SigningKey::generate(alg, "k1"), issuer, audience }
    }

    /// Lets people log in with tokens as passwords as the example says: these are the blocks of its section, the file of the
    /// PAM service first, then perhaps `pg_ident.conf`, and `pg_hba.conf` last.
    pub fn open_password_door(&self, blocks: &[String]) {
        let service = blocks[0].replace("pam_pg_jwks.so", "{module}");
        assert!(service.starts_with("# /etc/pam.d/pg_jwks\n"), "{service}");
        self.cluster.write_pam_service("pg_jwks", &service);
        for block in &blocks[1..] {
            let file = block.trim_start_matches("# ").split([',', ':']).next().expect("a name");
            assert!(["pg_ident.conf", "pg_hba.conf"].contains(&file), "{block}");
            let rest = if file == "pg_hba.conf" { "local all all trust\nhost all all all trust\n" } else { "" };
            self.cluster.write_file(file, &format!("{block}\n{rest}"));
        }
        encrypt(&self.cluster);
        self.cluster.restart();
    }

    /// Logs in with the token of these claims as the password.
    pub fn log_in(&self, role: &str, token: &str) -> Result<RawClient, Refused> {
        let parameters = [("user", role), ("database", DATABASE)];
        RawClient::connect_over_tls(&self.cluster, &parameters, Credentials::Cleartext(token))
    }

    /// Gives the server the issuer's key as a JWKS.
    pub fn with_jwks(self) -> Self {
        let jwks = jwks(&[&self.key]).to_string();
        self.set("pg_jwks.jwks", &jwks);
        self
    }

    /// Gives all databases the issuer's key: a login is decided before its database is known.
    pub fn with_system_jwks(self) -> Self {
        let jwks = jwks(&[&self.key]).to_string();
        self.superuser().batch_execute(&format!("ALTER SYSTEM SET pg_jwks.jwks = '{jwks}'")).expect("a setting");
        self
    }

    /// Gives the server the issuer's key as a PEM file.
    pub fn with_pem(self) -> Self {
        let path = self.cluster.write_file("public.pem", &self.key.public_pem());
        self.set("pg_jwks.jwks_uri", &format!("file:{}", path.display()));
        self
    }

    /// The same for all databases: a login is decided before its database is known.
    pub fn with_system_pem(self) -> Self {
        let path = self.cluster.write_file("public.pem", &self.key.public_pem());
        let set = format!("ALTER SYSTEM SET pg_jwks.jwks_uri = 'file:{}'", path.display());
        self.superuser().batch_execute(&set).expect("a setting");
        self
    }

    /// Gives the server the issuer's key as PEM at a URL.
    pub fn with_pem_at_url(self, origin: &Issuer) -> Self {
        origin.publish_body(self.key.public_pem().into_bytes());
        self.set("pg_jwks.allow_insecure_http", "on");
        self.set("pg_jwks.jwks_uri", &origin.jwks_uri());
        self
    }

    /// Gives the server the issuer's key as a file with a JWKS, where shared secrets belong.
    pub fn with_key_file(self) -> Self {
        let path = self.cluster.write_file("keys.json", &jwks(&[&self.key]).to_string());
        self.set("pg_jwks.jwks_uri", &format!("file:{}", path.display()));
        self
    }

    /// Changes a setting of the database.
    pub fn set(&self, name: &str, value: &str) {
        self.superuser().batch_execute(&format!("ALTER DATABASE {DATABASE} SET {name} = '{value}'")).expect(name);
    }

    /// Runs a script of the example.
    pub fn run(&self, script: &str) {
        self.try_run(&[], script).unwrap_or_else(|output| panic!("{script}: {output}"));
    }

    /// Runs a script with options of psql; the error is what psql printed.
    pub fn try_run(&self, options: &[&str], script: &str) -> Result<(), String> {
        let mut psql = self.cluster.psql();
        psql.args(options).args(["--quiet", "--set=ON_ERROR_STOP=1", "--dbname", DATABASE, "--file"]);
        let output = psql.arg(example(self.name).join(script)).output().expect("psql");
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    pub fn superuser(&self) -> Client {
        self.cluster.connect("postgres", DATABASE)
    }

    pub fn session(&self, role: &str) -> Client {
        self.cluster.connect(role, DATABASE)
    }

    /// A session in which the token of these claims is the identity.
    pub fn session_with(&self, role: &str, claims: Value) -> Client {
        let mut client = self.session(role);
        try_init(&mut client, &self.token(claims), false).expect("a good token");
        client
    }

    /// A session whose identity ends within seconds, and when that is: a token lives 30 s beyond its `exp`, the allowed
    /// clock skew.
    pub fn ending_session(&self, role: &str, mut claims: Value) -> (Client, i64) {
        let end = now() + 5;
        claims["exp"] = json!(end - 30);
        (self.session_with(role, claims), end)
    }

    /// A good token for an hour with more claims, or others.
    pub fn token(&self, more: Value) -> String {
        self.key.sign(&self.claims(more))
    }

    /// The same signed by somebody else.
    pub fn forged_token(&self, more: Value) -> String {
        SigningKey::generate(self.key.alg(), self.key.kid()).sign(&self.claims(more))
    }

    /// Good claims for an hour with more, or others.
    pub fn claims(&self, more: Value) -> Value {
        let mut claims = json!({ "iss": self.issuer, "aud": self.audience, "iat": now(), "exp": now() + 3600 });
        claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        claims
    }

    /// Tokens that nobody may accept: an expired one, a forged one, one for others, and no token.
    pub fn bad_tokens(&self, good: &Value) -> [String; 4] {
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            self.token(claims)
        };
        [
            with("exp", json!(now() - 60)),
            self.forged_token(good.clone()),
            with("aud", json!("others")),
            "no token".to_owned(),
        ]
    }

    /// Every bad token is refused with 28000 or 22023, and leaves neither identity nor access to `query`'s rows.
    #[track_caller]
    pub fn assert_bad_tokens_refused(&self, role: &str, good: &Value, query: &str) {
        for is_local in [false, true] {
            let mut client = self.session_with(role, good.clone());
            for token in self.bad_tokens(good) {
                let error = try_init(&mut client, &token, is_local).expect_err("a bad token");
                assert!(matches!(error.sqlstate.as_str(), "28000" | "22023"), "{error:?}");
                assert!(visible(&mut client, query).is_empty(), "{query}");
            }
        }
    }
}

impl Example {
    /// Two users in turn on one connection with one prepared statement, as behind a transaction pooler: each sees their
    /// own rows, and nobody sees any in between.
    #[track_caller]
    pub fn assert_a_connection_can_be_shared(&self, role: &str, query: &str, users: [(Value, &[&str]); 2]) {
        let mut client = self.session(role);
        let statement = client.prepare(query).expect("a statement");
        // More often than PostgreSQL plans anew.
        for _ in 0..7 {
            for (claims, expected) in &users {
                let token = self.token(claims.clone());
                let mut request = client.transaction().expect("a transaction");
                request.execute("SELECT auth.jwt_session_init($1, true)", &[&token]).expect("a good token");
                let rows = request.query(&statement, &[]).expect("rows");
                assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), *expected, "{claims}");
                request.commit().expect("the end of the transaction");
                match client.query(&statement, &[]) {
                    Ok(rows) => assert!(rows.is_empty(), "after {claims}"),
                    Err(error) => assert_eq!(pg_error(&error).sqlstate, "42501", "after {claims}"),
                }
            }
        }
    }
}

/// The linter finds nothing unsafe; it may know of something faster.
#[track_caller]
pub fn assert_safe_by_lint(example: &Example) {
    let query = "SELECT concat_ws(' | ', severity, object, problem) FROM auth.rls_lint() WHERE severity <> 'notice'";
    assert_eq!(visible(&mut example.superuser(), query), [""; 0]);
}

/// However these rows are read, no others appear.
#[track_caller]
pub fn assert_every_way(client: &mut impl GenericClient, table: &str, column: &str, expected: &[&str]) {
    for query in [
        format!("SELECT {column} FROM {table} ORDER BY 1"),
        format!("SELECT a.{column} FROM {table} a JOIN {table} b ON b.{column} = a.{column} ORDER BY 1"),
        format!("SELECT other.{column} FROM (VALUES (1)) one LEFT JOIN {table} other ON true ORDER BY 1"),
        format!("WITH rows AS MATERIALIZED (SELECT * FROM {table}) SELECT {column} FROM rows ORDER BY 1"),
        format!("SELECT unnest(array_agg({column} ORDER BY {column})) FROM {table}"),
    ] {
        assert_eq!(visible(client, &query), expected, "{query}");
    }
    let mut copied = String::new();
    let copy = format!("COPY (SELECT {column} FROM {table} ORDER BY 1) TO STDOUT");
    let mut reader = client.copy_out(&copy).expect("COPY");
    reader.read_to_string(&mut copied).expect("its lines");
    drop(reader);
    assert_eq!(copied.lines().collect::<Vec<_>>(), expected, "{copy}");
}

/// Calls `auth.jwt_session_init`.
pub fn try_init(client: &mut Client, token: &str, is_local: bool) -> Result<(), PgError> {
    let done = client.execute("SELECT auth.jwt_session_init($1, $2)", &[&token, &is_local]);
    done.map(drop).map_err(|error| pg_error(&error))
}

/// The texts that a query returns; none where the session has no right to ask.
#[track_caller]
pub fn visible(client: &mut impl GenericClient, query: &str) -> Vec<String> {
    match client.query(query, &[]) {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) if pg_error(&error).sqlstate == "42501" => Vec::new(),
        Err(error) => panic!("{query}: {error:?}"),
    }
}

/// The one value of a query.
#[track_caller]
pub fn value<T: FromSqlOwned>(client: &mut Client, query: &str) -> T {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// How many rows a statement changed.
#[track_caller]
pub fn changed(client: &mut Client, statement: &str) -> u64 {
    client.execute(statement, &[]).unwrap_or_else(|error| panic!("{statement}: {error:?}"))
}

/// The SQLSTATE with which a statement fails.
#[track_caller]
pub fn refused(client: &mut Client, statement: &str) -> String {
    match client.batch_execute(statement) {
        Ok(()) => panic!("{statement} succeeded"),
        Err(error) => pg_error(&error).sqlstate,
    }
}

/// Nobody sets these variables: in no session, with no connection option, and for no later session.
#[track_caller]
pub fn assert_unsettable(example: &Example, role: &str, variables: &[&str]) {
    let mut client = example.session(role);
    for name in variables {
        let evil = "1";
        for statement in [
            format!("SET {name} = '{evil}'"),
            format!("SET LOCAL {name} = '{evil}'"),
            format!("SELECT set_config('{name}', '{evil}', false)"),
            format!("ALTER ROLE {role} SET {name} = '{evil}'"),
            format!("ALTER ROLE {role} SET {} = '{evil}'", name.to_uppercase()),
        ] {
            assert_eq!(refused(&mut client, &statement), "55P02", "{statement}");
        }
        assert_eq!(value::<String>(&mut client, &format!("SELECT current_setting('{name}')")), "");
        let mut config = example.cluster.config();
        config.user(role).options(&format!("-c {name}={evil}"));
        let error = example.cluster.try_connect(&mut config).err().unwrap_or_else(|| panic!("{name} in PGOPTIONS"));
        assert_eq!(pg_error(&error).sqlstate, "55P02", "{name} in PGOPTIONS");
    }
}
