//! What an identity changes besides what the readers return: the role, the access mode, and session variables.

mod server;

mod claim_settings;
mod function_calls;
mod read_only;
mod request_claims;
mod role_end;
mod session_scope;
mod set_role;
