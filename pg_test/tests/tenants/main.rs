//! The tenants of a user: from claims and from the membership table, the choice among several, and who may not choose.

mod server;

mod choice;
mod claims;
mod definitions;
mod encodings;
mod lookup;
mod once;
mod parallel;
mod types;
