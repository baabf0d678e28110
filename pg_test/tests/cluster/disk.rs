//! The last good keys are on disk: a restart during a provider's outage still verifies.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pg_test::app::App;
use pg_test::login::{accepted, token, unavailable};
use pg_test::wait::eventually;
use pg_test::{Alg, Cluster, Fault, Issuer, SigningKey};

use crate::server::{last_error, preloaded, refresh, started};

/// An issuer whose keys are stored, with an application that used them.
struct Known<'c> {
    issuer: Issuer,
    key: SigningKey,
    app: App<'c>,
}

fn known<'c>(cluster: &'c Cluster, settings: &[(&str, &str)]) -> Known<'c> {
    let (issuer, key) = (Issuer::start(), SigningKey::generate(Alg::Es256, "k"));
    issuer.publish(&[&key]);
    let app = App::of(cluster, &issuer, settings);
    accepted(&mut app.connect(), &token(&key, issuer.url()));
    issuer.set_fault(Fault::Status(503));
    Known { issuer, key, app }
}

impl Known<'_> {
    fn accepted(&self) {
        accepted(&mut self.app.connect(), &token(&self.key, self.issuer.url()));
    }

    #[track_caller]
    fn unavailable(&self) {
        unavailable(&mut self.app.connect(), &token(&self.key, self.issuer.url()), "answered 503");
    }

    /// The file with its keys.
    fn file(&self, cluster: &Cluster) -> PathBuf {
        let entries = fs::read_dir(cluster.data_dir().join("pg_jwks")).expect("the folder of the keys");
        let mut files = entries.map(|entry| entry.expect("an entry").path());
        let names =
            |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).expect("a file")).contains(self.issuer.url());
        files.find(names).expect("a file with the keys of the issuer")
    }
}

#[test]
fn stored_keys_serve_after_a_restart_until_they_are_too_stale() {
    let cluster = started(preloaded());
    let lasting = known(&cluster, &[]);
    let brief = known(&cluster, &[("jwks_cache_ttl", "1s"), ("jwks_max_stale", "6s")]);
    let patient = known(&cluster, &[]);
    let folder = fs::metadata(cluster.data_dir().join("pg_jwks")).expect("the folder of the keys");
    assert_eq!(folder.mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(lasting.file(&cluster)).expect("the file").mode() & 0o777, 0o600);
    cluster.restart();
    lasting.accepted();
    brief.accepted();
    // Settings that have nothing to do with trust do not make stored keys worthless.
    patient.app.set("fetch_timeout", "3s");
    patient.app.set("jwks_refresh_cooldown", "20s");
    patient.accepted();
    assert!(cluster.log().contains("using stored keys"), "the log says where the keys are from");
    eventually("the failure of the first fetch", || {
        let (error, keys) = last_error(&mut lasting.app.admin(), lasting.issuer.url());
        assert_eq!(keys, 1);
        error.is_some_and(|error| error.contains("answered 503")).then_some(())
    });
    thread::sleep(Duration::from_secs(6));
    brief.unavailable();
    cluster.restart();
    brief.unavailable();
    assert!(cluster.log().contains("are ignored: they are too old"));
    lasting.accepted();
    brief.issuer.set_fault(Fault::None);
    thread::sleep(Duration::from_secs(2));
    brief.accepted();
}

type Damage = fn(&Path);

const DAMAGES: &[(&str, Damage)] = &[
    ("truncated", |path| {
        let text = fs::read(path).expect("the file");
        fs::write(path, &text[..text.len() - 10]).expect("truncated");
    }),
    ("without its document", |path| {
        let text = fs::read_to_string(path).expect("the file");
        let end = text.match_indices('\n').nth(1).expect("two lines").0;
        fs::write(path, &text[..=end]).expect("cut");
    }),
    ("empty", |path| fs::write(path, "").expect("emptied")),
    ("with a bit flipped in the keys", |path| {
        let mut text = fs::read(path).expect("the file");
        *text.iter_mut().rev().nth(40).expect("a byte") ^= 1;
        fs::write(path, text).expect("flipped");
    }),
    ("with another date", |path| {
        let text = fs::read_to_string(path).expect("the file");
        fs::write(path, text.replacen("\"fetched\":1", "\"fetched\":2", 1)).expect("dated");
    }),
    ("world-writable", |path| fs::set_permissions(path, Permissions::from_mode(0o666)).expect("permissions")),
    ("group-writable", |path| fs::set_permissions(path, Permissions::from_mode(0o660)).expect("permissions")),
    ("a link", |path| {
        let elsewhere = path.with_extension("elsewhere");
        fs::rename(path, &elsewhere).expect("moved");
        symlink(elsewhere, path).expect("linked");
    }),
    ("a folder", |path| {
        fs::remove_file(path).expect("removed");
        fs::create_dir(path).expect("a folder");
    }),
];

#[test]
fn files_that_cannot_be_trusted_are_ignored_with_a_log_line() {
    let cluster = started(preloaded());
    let intact = known(&cluster, &[]);
    let mut damaged: Vec<_> = DAMAGES.iter().map(|(what, damage)| (*what, *damage, known(&cluster, &[]))).collect();
    // Only root can give files away.
    if fs::metadata("/proc/self").expect("/proc").uid() == 0 {
        damaged.push(("of another user", |path| chown(path, Some(0), None).expect("chown"), known(&cluster, &[])));
    }
    let files: Vec<_> = damaged.iter().map(|(.., known)| known.file(&cluster)).collect();
    cluster.stop();
    // Writing in place keeps the owner and the permissions.
    damaged.iter().zip(&files).for_each(|((_, damage, _), file)| damage(file));
    let mark = cluster.log_mark();
    cluster.restart();
    intact.accepted();
    for ((what, _, known), file) in damaged.iter().zip(&files) {
        known.unavailable();
        let log = cluster.log_since(mark);
        let name = file.file_name().expect("a name").to_string_lossy();
        let line = log.lines().find(|line| line.contains(&*name) && line.contains("is ignored"));
        assert!(line.is_some(), "{what}: no line in\n{log}");
    }
    // A good fetch puts things right, but for the folder, which is reported.
    for (what, _, known) in &damaged {
        known.issuer.set_fault(Fault::None);
        refresh(&mut known.app.admin()).unwrap_or_else(|error| panic!("{what}: {error}"));
        known.accepted();
    }
    assert!(cluster.log_since(mark).contains("could not be stored"));
}

#[test]
fn stored_keys_do_not_count_under_other_trust() {
    let cluster = started(preloaded());
    let known = known(&cluster, &[]);
    let file = known.file(&cluster);
    let ca_file = cluster.write_file("authority.pem", &pg_test::Authority::new().pem());
    cluster.stop();
    let other = SigningKey::generate(Alg::Es256, "other");
    cluster.restart();
    // Other trust roots.
    known.app.set("ca_file", &ca_file.to_string_lossy());
    known.unavailable();
    known.app.set("ca_file", "");
    known.accepted();
    // Another URL of the same issuer.
    known.app.set("jwks_uri", &known.issuer.jwks_uri());
    known.unavailable();
    // A file that was copied to the name of another issuer's.
    let victim = Issuer::start();
    victim.publish(&[&other]);
    let app = App::of(&cluster, &victim, &[]);
    accepted(&mut app.connect(), &token(&other, victim.url()));
    victim.set_fault(Fault::Status(503));
    let known_victim = Known { issuer: victim, key: other, app };
    let target = known_victim.file(&cluster);
    cluster.stop();
    fs::write(&target, fs::read(&file).expect("the file of one issuer")).expect("the file of the other");
    let mark = cluster.log_mark();
    cluster.restart();
    known_victim.unavailable();
    assert!(cluster.log_since(mark).contains("fetched under other settings"), "{}", cluster.log_since(mark));
}
