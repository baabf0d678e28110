//! The code of `docs/orms.md`, as it stands there, through PgBouncer in transaction mode: two tenants who share one
//! connection, a token that is refused, and nobody; and its migrations.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_test::cluster::PgBouncer;
use pg_test::documents::Page;
use pg_test::sql::run;
use pg_test::{clients, offline, process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shop::{A, B, Shop, options};

const ONE_CONNECTION: &str = "pool_mode = transaction\ndefault_pool_size = 1";

/// The code of one ORM in a folder, and where it connects to.
struct Project {
    shop: Shop,
    pooler: PgBouncer,
    folder: TempDir,
    scheme: &'static str,
}

impl Project {
    /// Writes the document's blocks of these languages into files of the names that their first lines say.
    fn new(heading: &str, languages: &[&str], scheme: &'static str, main: (&str, &str)) -> Self {
        let shop = Shop::with_roles(options());
        let pooler = shop.cluster.pgbouncer("app", ONE_CONNECTION);
        let folder = clients::node_folder(&[main]);
        for block in languages.iter().flat_map(|language| Page::of_repository("docs/orms.md").blocks(heading, language))
        {
            let name = block.lines().next().expect("a line").trim_start_matches(['#', '/', '-', ' ']);
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
            fs::write(path, &block).expect("the file");
        }
        Self { shop, pooler, folder, scheme }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program in the folder, connected past the pooler as the owner of the tables, or through it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, as_owner: bool) -> Command {
        let (host, port, user) = match as_owner {
            true => (self.shop.cluster.host().to_owned(), self.shop.cluster.port(), "app_owner"),
            false => (self.pooler.host().to_str().expect("UTF-8").to_owned(), self.pooler.port(), "app"),
        };
        let mut command = Command::new(program);
        let url = format!("{}://{user}@/shop?host={host}&port={port}", self.scheme);
        command
            .current_dir(self.path())
            .env("DATABASE_URL", url)
            .envs([("PGHOST", host), ("PGPORT", port.to_string()), ("PGUSER", user.to_owned())])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Rows of both tenants, before the second migration.
    fn seed(&self) {
        let seed = format!("INSERT INTO invoice (tenant_id, number) VALUES ('{A}', 'A-1'), ('{B}', 'B-1')");
        run(&mut self.shop.client("app_owner"), &seed);
    }

    /// After the migrations: every tenant's row is filled. Then both tenants add an invoice and read theirs, beside a
    /// token that is refused.
    fn keeps_tenants_apart(&self, mut command: Command) {
        assert_eq!(self.shop.all("SELECT number FROM invoice WHERE paid ORDER BY 1"), ["A-1", "B-1"], "it is filled");
        run(&mut self.shop.client("app_owner"), "SELECT auth.rls_assert('warning')");
        let token = |sub: &str, tenant: &str| offline::token_with(&json!({ "sub": sub, "tenant_id": tenant }));
        let (alice, bob) = (token("alice", A), token("bob", B));
        let forged = format!("{}AAAA", &bob[..bob.len() - 4]);
        let output =
            process::run(command.arg("use").args([&alice, "A-2", &bob, "B-2", &forged, "planted", &alice, "A-3"]));
        let lines: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{output}"))).collect();
        let [first, second, refused, third, nobody] = &lines[..] else { panic!("{output}") };
        assert_eq!(
            [first, second, third, nobody],
            [&json!(["A-1", "A-2"]), &json!(["B-1", "B-2"]), &json!(["A-1", "A-2", "A-3"]), &json!([]),]
        );
        let refused = refused.as_str().expect("an error");
        assert!(refused.contains("JWT rejected: signature invalid"), "{refused}");
        assert!(!refused.contains(&forged), "the error has the token: {refused}");
        let log = self.shop.cluster.log();
        assert!(![alice, bob, forged].iter().any(|token| log.contains(token)), "the server's log has a token");
    }
}

fn python() -> std::path::PathBuf {
    clients::installed().join("venv/bin/python")
}

#[test]
fn django() {
    let main = ("main.py", include_str!("../../clients/orms/django_main.py"));
    let project = Project::new("Django", &["python"], "postgresql", main);
    // The files of the application are in its package.
    let package = project.path().join("shop");
    fs::create_dir_all(&package).expect("the package");
    for name in ["identity.py", "models.py", "migrations"] {
        fs::rename(project.path().join(name), package.join(name)).expect(name);
    }
    for name in ["__init__.py", "migrations/__init__.py"] {
        fs::write(package.join(name), "").expect(name);
    }
    let migrate = |name: &str| {
        process::run(project.command(python(), true).args(["main.py", "migrate", name]));
    };
    migrate("0001");
    project.seed();
    migrate("0002");
    let mut command = project.command(python(), false);
    command.arg("main.py");
    project.keeps_tenants_apart(command);
    migrate("zero");
    assert_eq!(project.shop.all("SELECT count(*) FROM pg_policy"), ["0"], "the migration can be undone");
}

#[test]
fn sqlalchemy() {
    let main = ("main.py", include_str!("../../clients/orms/sqlalchemy_main.py"));
    let project = Project::new("SQLAlchemy", &["python"], "postgresql+psycopg", main);
    let migrate = |name: &str| {
        process::run(project.command(python(), true).args(["main.py", "migrate", &format!("versions.{name}")]));
    };
    migrate("invoice");
    project.seed();
    migrate("paid");
    let mut command = project.command(python(), false);
    command.arg("main.py");
    project.keeps_tenants_apart(command);
}

/// The journal that `drizzle-kit generate` keeps of its files.
fn journal(project: &Project, names: &[&str]) {
    let entries: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| json!({ "idx": number, "version": "7", "when": number + 1, "tag": name, "breakpoints": true }))
        .collect();
    let folder = project.path().join("migrations");
    fs::create_dir_all(folder.join("meta")).expect("the folder");
    let journal = json!({ "version": "7", "dialect": "postgresql", "entries": entries });
    fs::write(folder.join("meta/_journal.json"), journal.to_string()).expect("the journal");
    for name in names {
        let file = format!("{name}.sql");
        if project.path().join(&file).exists() {
            fs::rename(project.path().join(&file), folder.join(&file)).expect("the migration");
        }
    }
}

fn drizzle_project() -> Project {
    let main = ("main.mjs", include_str!("../../clients/orms/drizzle_main.mjs"));
    let project = Project::new("Drizzle", &["js", "sql"], "postgresql", main);
    run(&mut project.shop.client("postgres"), "GRANT CREATE ON DATABASE shop TO app_owner");
    let migrate = || {
        process::run(project.command("node", true).args(["main.mjs", "migrate"]));
    };
    journal(&project, &["0000_invoice"]);
    migrate();
    project.seed();
    journal(&project, &["0000_invoice", "0001_paid"]);
    migrate();
    project
}

#[test]
fn drizzle() {
    let project = drizzle_project();
    let mut command = project.command("node", false);
    command.arg("main.mjs");
    project.keeps_tenants_apart(command);
}

/// `drizzle-kit push`, with one more column, would drop the policy and switch row security off without asking.
#[test]
fn drizzle_kit_push_of_one_column_does_not_take_the_isolation_away() {
    let project = drizzle_project();
    let model = fs::read_to_string(project.path().join("shop.mjs")).expect("the model");
    let model = model.replace("  paid:", "  note: text(),\n  paid:");
    fs::write(project.path().join("shop.mjs"), model).expect("the model with a column");
    fs::write(
        project.path().join("drizzle.config.ts"),
        "export default { dialect: 'postgresql', schema: './shop.mjs', dbCredentials: { url: process.env.DATABASE_URL } }",
    )
    .expect("the configuration");
    let url = format!("postgresql://app_owner@{}:{}/shop", project.shop.cluster.host(), project.shop.cluster.port());
    let push = |options: &str| {
        let mut command = project.command("node_modules/.bin/drizzle-kit", true);
        command.args(["push", "--force"]).env("DATABASE_URL", &url).env("PGOPTIONS", options);
        let output = command.output().expect("drizzle-kit");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let output = push("");
    assert!(output.contains("is isolated by tenant"), "{output}");
    let state =
        "SELECT relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
                   FROM pg_class c WHERE relname = 'invoice'";
    assert_eq!(project.shop.all(state), ["true"]);
    let mut app = project.shop.client("app");
    assert_eq!(crate::shop::column(&mut app, "SELECT number FROM invoice"), [""; 0]);
    // What it would have done.
    push("-c pg_jwks.protect_isolation=off");
    assert_eq!(project.shop.all(state), ["false"]);
}

#[test]
fn prisma() {
    let main = ("main.mjs", include_str!("../../clients/orms/prisma_main.mjs"));
    let project = Project::new("Prisma", &["js", "sql", "prisma"], "postgresql", main);
    process::run(
        project
            .command("node_modules/.bin/prisma", true)
            .args(["generate", "--schema", "schema.prisma"])
            // Generating asks nothing of the engine of migrations, which npm does not bring.
            .env("PRISMA_SCHEMA_ENGINE_BINARY", "/bin/true")
            .env("CHECKPOINT_DISABLE", "1"),
    );
    let migrate = |name: &str| {
        let file = project.path().join("migrations").join(name).join("migration.sql");
        project.shop.cluster.run_sql_file("app_owner", "shop", file).unwrap_or_else(|output| panic!("{output}"));
    };
    migrate("1_invoice");
    project.seed();
    migrate("2_paid");
    let mut command = project.command("node", false);
    command.arg("main.mjs");
    project.keeps_tenants_apart(command);
}
