//! New sessions over TLS: with a token, beside what else a server can ask for.

use std::any::Any;
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use pg_test::tls::{encrypt, root_of};
use pg_test::wait::eventually;
use pg_test::{Credentials, RawClient};
use serde_json::json;

use crate::charts;
use crate::libpq::Connection;
use crate::report::{Table, Target, duration, ratio};
use crate::server::{SUB, Server};

/// Logins of each kind one after another; the kinds take turns.
const LOGINS: usize = 500;
const CLIENTS: usize = 8;
/// How long clients log in at once with each kind, in each round.
const BLOCK: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 4;

const PASSWORD: &str = "correct horse battery staple";

/// How a client logs in.
#[derive(Clone, Copy)]
enum Login<'a> {
    /// With libpq, and a password if there is one.
    Libpq(Option<&'a str>),
    /// With a client of our own: few drivers know OAuth.
    Own(Credentials<'a>),
}

struct Kind<'a> {
    label: &'static str,
    db: &'static str,
    login: Login<'a>,
    /// The number of the kind with trust, and the same client.
    trust: usize,
}

/// What the logins of a kind took.
struct Sample {
    times: Vec<Duration>,
    /// For how long somebody logged in.
    elapsed: Duration,
    /// The processor time of the server's processes.
    processor: Duration,
}

impl Sample {
    const EMPTY: Self = Self { times: Vec::new(), elapsed: Duration::ZERO, processor: Duration::ZERO };

    fn quantile(&mut self, part: f64) -> f64 {
        self.times.sort_unstable();
        let last = self.times.len() - 1;
        self.times[(part * last as f64).round() as usize].as_nanos() as f64
    }

    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Logs in again and again by each door that this PostgreSQL has.
pub fn run(server: &Server) -> Vec<Target> {
    let mut claims = server.claims(0);
    claims["scope"] = json!("login");
    let token = server.keys()[0].sign(&claims);
    let mut kinds = vec![
        Kind { label: "trust", db: "by_trust", login: Login::Libpq(None), trust: 0 },
        Kind { label: "scram-sha-256", db: "by_scram", login: Login::Libpq(Some(PASSWORD)), trust: 0 },
    ];
    match cfg!(without_pam) {
        true => println!("\nLogins: there is no PAM here for the token as the password"),
        false => {
            kinds.push(Kind { label: PASSWORD_DOOR, db: "by_pam", login: Login::Libpq(Some(&token)), trust: 0 });
        }
    }
    match server.cluster().major_version() {
        ..18 => println!("\nLogins: PostgreSQL has OAuth from version 18 on"),
        _ => {
            let trust = kinds.len();
            kinds.push(Kind { label: OWN_TRUST, db: "by_trust", login: Login::Own(Credentials::None), trust });
            let login = Login::Own(Credentials::Bearer(&token));
            kinds.push(Kind { label: OAUTH_DOOR, db: "by_oauth", login, trust });
        }
    }
    prepare(server, &kinds);
    for kind in &kinds {
        (0..20).for_each(|_| {
            log_in(server, kind);
        });
    }
    let before = server.issuer_requests();
    if !cfg!(without_pam) {
        // PAM loads the modules of the service "other" for each login too: on Debian those for users of the machine.
        print("one after another; the machine's own PAM service \"other\"", &kinds, one_after_another(server, &kinds));
        server.cluster().write_pam_service("other", "auth required pam_deny.so\naccount required pam_deny.so\n");
    }
    let mut targets = print("one after another", &kinds, one_after_another(server, &kinds));
    targets.extend(print("from 8 clients", &kinds, from_many_clients(server, &kinds)));
    let requests = server.issuer_requests() - before;
    println!("  Requests that the issuer saw meanwhile: {requests}");
    targets
}

const PASSWORD_DOOR: &str = "token as password, pg_jwks";
const OWN_TRUST: &str = "trust, another client than libpq";
const OAUTH_DOOR: &str = "oauth, pg_jwks, the same client";

/// What the median login by a door may take, to one with trust.
fn bound(label: &str) -> Option<f64> {
    match label {
        PASSWORD_DOOR => Some(1.4),
        OAUTH_DOOR => Some(1.3),
        _ => None,
    }
}

fn prepare(server: &Server, kinds: &[Kind]) {
    let cluster = server.cluster();
    encrypt(cluster);
    let mut admin = server.superuser();
    let role = format!("CREATE ROLE \"{SUB}\" LOGIN PASSWORD '{PASSWORD}'");
    admin.batch_execute(&role).expect("CREATE ROLE");
    let issuer = server.issuer_url();
    let mut hba = String::new();
    for Kind { label, db, .. } in kinds.iter().filter(|kind| kind.label != OWN_TRUST) {
        admin.batch_execute(&format!("CREATE DATABASE {db}")).expect("CREATE DATABASE");
        let method = match *label {
            OAUTH_DOOR => format!("oauth issuer=\"{issuer}\" scope=\"login\""),
            PASSWORD_DOOR => "pam pamservice=pg_jwks".to_owned(),
            method => method.to_owned(),
        };
        writeln!(hba, "hostssl {db} all all {method}").expect("writing to a string");
        match *label {
            OAUTH_DOOR => {
                let set = "ALTER SYSTEM SET oauth_validator_libraries = 'pg_jwks'";
                admin.batch_execute(set).expect("ALTER SYSTEM");
            }
            PASSWORD_DOOR => {
                let lines =
                    format!("auth required {{module}} issuer={issuer} scope=login\naccount required {{module}}\n");
                cluster.write_pam_service("pg_jwks", &lines);
            }
            _ => {}
        }
    }
    cluster.write_file("pg_hba.conf", &format!("{hba}host all all all trust\n"));
    cluster.reload();
    let wrong = Kind { label: "", db: "by_scram", login: Login::Libpq(Some("wrong")), trust: 0 };
    // The server takes note a moment later.
    eventually("a reload", || try_log_in(server, &wrong).is_err().then_some(()));
}

fn try_log_in(server: &Server, kind: &Kind) -> Result<Session, String> {
    let cluster = server.cluster();
    match kind.login {
        Login::Libpq(password) => {
            let settings = format!(
                "host={} port={} user={SUB} dbname={} password='{}' sslmode=verify-full sslrootcert={}",
                cluster.host(),
                cluster.port(),
                kind.db,
                password.unwrap_or_default(),
                root_of(cluster).display(),
            );
            Connection::open(&settings).map(|session| Box::new(session) as Session)
        }
        Login::Own(credentials) => {
            let parameters = [("user", SUB), ("database", kind.db)];
            let session = RawClient::connect_over_tls(cluster, &parameters, credentials);
            session.map(|session| Box::new(session) as Session).map_err(|refused| format!("{refused:?}"))
        }
    }
}

/// What ends when it is dropped.
type Session = Box<dyn Any>;

fn log_in(server: &Server, kind: &Kind) -> Duration {
    let begun = Instant::now();
    let session = try_log_in(server, kind).unwrap_or_else(|error| panic!("{}: {error}", kind.label));
    let took = begun.elapsed();
    drop(session);
    took
}

fn one_after_another(server: &Server, kinds: &[Kind]) -> Vec<Sample> {
    let mut samples: Vec<_> = kinds.iter().map(|_| Sample::EMPTY).collect();
    for _ in 0..LOGINS {
        for (kind, sample) in kinds.iter().zip(&mut samples) {
            let took = log_in(server, kind);
            sample.times.push(took);
            sample.elapsed += took;
        }
    }
    samples
}

fn from_many_clients(server: &Server, kinds: &[Kind]) -> Vec<Sample> {
    let mut samples: Vec<_> = kinds.iter().map(|_| Sample::EMPTY).collect();
    for _ in 0..ROUNDS {
        for (kind, sample) in kinds.iter().zip(&mut samples) {
            let processor = processor_time_of_children(server.cluster().postmaster_pid());
            let begun = Instant::now();
            let times = thread::scope(|scope| {
                let client = || {
                    let mut times = Vec::new();
                    while begun.elapsed() < BLOCK {
                        times.push(log_in(server, kind));
                    }
                    times
                };
                let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
                clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
            });
            sample.elapsed += begun.elapsed();
            sample.times.extend(times);
            // The last sessions end after their clients.
            thread::sleep(Duration::from_millis(100));
            sample.processor += processor_time_of_children(server.cluster().postmaster_pid()) - processor;
        }
    }
    samples
}

/// The processor time that the ended children of a process have used.
fn processor_time_of_children(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    // cutime and cstime, which proc(5) counts as fields 16 and 17; the name was the second.
    let ticks: u64 = fields.split(' ').skip(13).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    // SAFETY: sysconf takes no pointers.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs(ticks) / u32::try_from(per_second).expect("a small number")
}

fn print(title: &str, kinds: &[Kind], mut samples: Vec<Sample>) -> Vec<Target> {
    let heading = format!("Logins over TLS, {title}: until the server is ready");
    let mut table = Table::new(heading, &["", "p50", "p99", "a second", "p50 to trust", "server's processor"]);
    let medians: Vec<f64> = samples.iter_mut().map(|sample| sample.quantile(0.5)).collect();
    let scram = medians[1];
    let bars: Vec<_> = kinds.iter().map(|kind| kind.label).zip(medians.iter().copied()).collect();
    let file = format!("logins-{}", title.replace(|character: char| !character.is_ascii_alphanumeric(), "-"));
    charts::draw(&file, &format!("A new session over TLS, {title}: the median"), &bars, duration);
    for ((kind, sample), median) in kinds.iter().zip(&mut samples).zip(&medians) {
        table.line([
            kind.label.to_owned(),
            duration(*median),
            duration(sample.quantile(0.99)),
            format!("{:.0}", sample.per_second()),
            ratio(median / medians[kind.trust]),
            match sample.processor {
                Duration::ZERO => "-".to_owned(),
                processor => duration(processor.as_nanos() as f64 / sample.times.len() as f64),
            },
        ]);
    }
    table.print();
    let mut targets = Vec::new();
    for (kind, median) in kinds.iter().zip(&medians) {
        let Some(bound) = bound(kind.label) else { continue };
        let what = format!("the median login by {}, to one with trust; {title}", kind.label);
        targets.push(Target::new(what, median / medians[kind.trust], bound));
        if kind.trust == 0 {
            let what = format!("the median login by {}, to one with scram-sha-256; {title}", kind.label);
            targets.push(Target::new(what, median / scram, 1.0));
        }
    }
    targets
}
