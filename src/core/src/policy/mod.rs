//! What an operator trusts and asks for: settings as typed values, and the decisions that need only claims and them.

pub mod claim_settings;
mod entry;
pub mod issuer_name;
pub mod login;
pub mod membership_table;
pub mod pam;
pub mod provider;
pub mod providers;
pub mod required_claims;
pub mod revocation;
pub mod role_map;
pub mod trust_settings;
