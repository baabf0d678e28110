//! A cluster runs, and leaves nothing behind.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::{Cluster, backend, pg_error};

#[test]
fn a_cluster_starts_restarts_and_logs() {
    let cluster =
        Cluster::options().without_extension().setting("work_mem", "7MB").setting("my.text", "it's\\n").start();
    let mut client = cluster.client();
    assert_eq!(client.query_one("SELECT 1", &[]).expect("SELECT 1").get::<_, i32>(0), 1);
    let show = |client: &mut postgres::Client, name: &str| -> String {
        client.query_one(&format!("SHOW {name}"), &[]).expect("SHOW").get(0)
    };
    assert_eq!(show(&mut client, "work_mem"), "7MB");
    assert_eq!(show(&mut client, "my.text"), "it's\\n");
    let version: u32 = show(&mut client, "server_version_num").parse().expect("a number");
    assert_eq!(version / 10_000, cluster.major_version());
    // The private installation is in use.
    let installed: String =
        client.query_one("SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'", &[]).expect("pg_config").get(0);
    assert!(installed.starts_with(&*cluster.socket_dir().to_string_lossy()), "{installed}");

    let mark = cluster.log_mark();
    let error =
        client.batch_execute("DO $$BEGIN RAISE 'wrong' USING DETAIL = 'd', HINT = 'h'; END$$").expect_err("RAISE");
    let error = pg_error(&error);
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("P0001", "wrong"));
    assert_eq!((error.detail.as_deref(), error.hint.as_deref()), (Some("d"), Some("h")));
    assert!(cluster.log_since(mark).contains("postgres@postgres ERROR:  wrong"), "{}", cluster.log_since(mark));
    assert!(cluster.log().contains("ready to accept connections"));
    assert!(!cluster.log_since(mark).contains("ready to accept connections"));

    let before = cluster.postmaster_pid();
    cluster.restart();
    assert_ne!(cluster.postmaster_pid(), before);
    assert!(client.batch_execute("SELECT 1").is_err());
    cluster.client().batch_execute("SELECT 1").expect("the same port");
    cluster.stop();
    assert!(cluster.try_connect(&mut cluster.config()).is_err(), "stopped");
    cluster.restart();
}

#[test]
fn a_cluster_has_databases_users_files_and_psql() {
    let cluster = Cluster::options().without_extension().start();
    cluster.create_database("in \"latin\"", "LATIN1");
    let mut latin = cluster.connect("postgres", "in \"latin\"");
    let encoding: String = latin.query_one("SHOW server_encoding", &[]).expect("SHOW").get(0);
    assert_eq!(encoding, "LATIN1");

    latin.batch_execute("CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN").expect("CREATE ROLE");
    cluster.write_file("pg_hba.conf", "host all bob all reject\nhost all all all trust\nlocal all all trust\n");
    cluster.reload();
    let deadline = Instant::now() + Duration::from_secs(10);
    while cluster.try_connect(cluster.config().user("bob")).is_ok() {
        assert!(Instant::now() < deadline, "the server did not read pg_hba.conf again");
        thread::sleep(Duration::from_millis(10));
    }

    let script = cluster.socket_dir().join("script.sql");
    fs::write(&script, "SELECT current_user;\nDO $$BEGIN RAISE NOTICE 'heard'; END$$;\nSELECT 1/0;\nSELECT 'late';")
        .expect("a script");
    let output = cluster.run_sql_file("alice", "in \"latin\"", &script).expect_err("division by zero");
    assert!(output.contains("alice") && output.contains("heard") && output.contains("division by zero"), "{output}");
    assert!(!output.contains("late"), "{output}");
    fs::write(&script, "SELECT 'all is well';").expect("a script");
    let output = cluster.run_sql_file("alice", "postgres", &script).expect("no error");
    assert!(output.contains("all is well"), "{output}");
    let socket = cluster.psql().env("PGHOST", cluster.socket_dir()).args(["-Atc", "SELECT 2"]).output().expect("psql");
    assert_eq!(socket.stdout, b"2\n");
}

#[test]
fn a_backend_shows_its_memory() {
    let cluster = Cluster::options().without_extension().start();
    let mut client = cluster.client();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    assert!(backend::rss_kib(pid) > 1024);
    assert!(backend::memory_contexts(&mut client) > 100_000);
}

#[test]
fn dropping_a_cluster_leaves_nothing() {
    let cluster = Cluster::options().without_extension().start();
    let (pid, folder) = (cluster.postmaster_pid(), cluster.socket_dir().to_owned());
    drop(cluster);
    assert!(!fs::exists(format!("/proc/{pid}")).expect("/proc"));
    assert!(!fs::exists(folder).expect("/tmp"));
}

#[test]
#[ignore = "runs as the child of the test below"]
fn victim() {
    // On another thread, as the first test to use a shared server does.
    let start = thread::spawn(|| Cluster::options().without_extension().start());
    let cluster = start.join().expect("a cluster");
    cluster.client().batch_execute("SELECT 1").expect("alive though the thread that started it ended");
    let report = format!("{}\n{}\n", cluster.postmaster_pid(), cluster.data_dir().display());
    fs::write(std::env::var_os("VICTIM_REPORT").expect("VICTIM_REPORT"), report).expect("a report");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_server_does_not_outlive_a_killed_test_run() {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "cluster::victim", "--ignored"])
        .env("VICTIM_REPORT", report.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("the victim");
    let deadline = Instant::now() + Duration::from_secs(60);
    let (pid, folder) = loop {
        let text = fs::read_to_string(report.path()).expect("the report");
        if let Some((pid, folder)) = text.strip_suffix('\n').and_then(|lines| lines.split_once('\n')) {
            break (pid.to_owned(), folder.to_owned());
        }
        assert!(Instant::now() < deadline, "the victim did not start");
        thread::sleep(Duration::from_millis(20));
    };
    child.kill().expect("killed");
    child.wait().expect("ended");
    while fs::exists(format!("/proc/{pid}")).expect("/proc") {
        assert!(Instant::now() < deadline, "the server outlives the test");
        thread::sleep(Duration::from_millis(20));
    }
    drop(Cluster::options().without_extension().start());
    assert!(!fs::exists(&folder).expect("/tmp"), "the next cluster removes what was left");
}

#[test]
#[ignore = "runs as the child of the test below"]
fn failing() {
    static SHARED: LazyLock<Cluster> = LazyLock::new(|| Cluster::options().without_extension().start());
    SHARED.client().batch_execute("SELECT 1").expect("a server that outlives this test");
    let _own = Cluster::options().without_extension().start();
    drop(Cluster::options().without_extension().start());
    panic!("as a test that fails");
}

#[test]
fn the_servers_of_a_failed_test_are_kept_on_request() {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "cluster::failing", "--ignored", "--nocapture"])
        .env("PG_JWKS_KEEP", "1")
        .output()
        .expect("the test that fails");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let kept: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("PG_JWKS_KEEP: ")).collect();
    assert_eq!(kept.len(), 2, "{said}");
    // Another server removes the folders of processes that have ended, but not these.
    drop(Cluster::options().without_extension().start());
    for line in kept {
        let folder = line.strip_suffix(" is kept; cluster::failing started it").expect(line);
        assert!(fs::exists(format!("{folder}/data/PG_VERSION")).expect("/tmp"), "{folder}");
        let log = fs::read_to_string(format!("{folder}/log")).expect("the log");
        assert!(log.contains("ready to accept connections"), "{log}");
        fs::remove_dir_all(folder).expect("removed");
    }
}
