//! The tenants of a user: from claims and from the membership table, the choice among several, and who may not choose.

mod server;

mod lookup;
