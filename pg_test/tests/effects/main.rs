//! What an identity changes besides what the readers return: the role, the access mode, and session variables.

mod server;

mod claim_settings;
mod read_only;
mod request_claims;
mod session_scope;
mod set_role;
