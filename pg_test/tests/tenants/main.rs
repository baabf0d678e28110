//! The tenants of a user: from claims and from the membership table, the choice among several, and who may not choose.

mod server;

mod authority;
mod choice;
mod claims;
mod definitions;
mod encodings;
mod lookup;
mod once;
mod others_code;
mod parallel;
mod spelling;
mod types;
