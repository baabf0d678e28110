//! The documents say what is so: their links resolve, their tables are the server's, and what they show was run.

mod clients;
mod links;
mod names;
mod package;
mod runbook;
mod security;
mod server;
mod statements;
mod tables;
