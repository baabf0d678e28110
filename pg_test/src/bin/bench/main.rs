//! `make bench`: what the extension costs on a throwaway server, beside what else one could do. With `--check` a
//! missed target is a failure; `--charts=FOLDER` draws charts there; names of sections run only those.

mod charts;
mod estimates;
mod first_tokens;
mod issuers;
mod libpq;
mod logins;
mod measure;
mod new_connection;
mod policies;
mod reading;
mod repeated_token;
mod report;
mod server;
mod statements;
mod tenants;

use std::env;
use std::process::ExitCode;

use report::Target;
use server::Server;

type Section = (&'static str, fn(&Server) -> Vec<Target>);

const SECTIONS: [Section; 10] = [
    ("reading", reading::run),
    ("first-tokens", first_tokens::run),
    ("issuers", issuers::run),
    ("repeated-token", repeated_token::run),
    ("revocations", repeated_token::with_revocations),
    ("statements", statements::run),
    ("new-connection", new_connection::run),
    ("tenants", tenants::run),
    ("estimates", estimates::run),
    ("logins", logins::run),
];

fn main() -> ExitCode {
    let (flags, names): (Vec<String>, Vec<String>) = env::args().skip(1).partition(|word| word.starts_with("--"));
    let folder = flags.iter().find_map(|flag| flag.strip_prefix("--charts="));
    let unknown_flag = flags.iter().any(|flag| flag != "--check" && !flag.starts_with("--charts="));
    let unknown_name = names.iter().any(|name| SECTIONS.iter().all(|section| section.0 != name));
    if unknown_flag || unknown_name {
        eprintln!("usage: bench [--check] [--charts=FOLDER] [{}]...", SECTIONS.map(|section| section.0).join("|"));
        return ExitCode::from(2);
    }

    if let Some(folder) = folder {
        charts::write_to(folder.into());
    }
    let server = Server::start();
    println!("PostgreSQL {}; medians of interleaved rounds", server.version());
    if server.has_assertions() {
        println!("This server was built with assertions, which slow it down: its figures are no measure.");
    }
    let chosen = SECTIONS.iter().filter(|section| names.is_empty() || names.iter().any(|name| section.0 == name));
    let targets: Vec<Target> = chosen.flat_map(|section| section.1(&server)).collect();

    println!("\nTargets");
    for target in &targets {
        println!("  {target}");
    }
    match flags.iter().any(|flag| flag == "--check") && targets.iter().any(|target| !target.is_reached()) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
