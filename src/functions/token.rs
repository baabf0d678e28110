//! What the functions that take a token have in common.

use crate::pg::memory;
use crate::telemetry::activity;

/// Begins to work with a token: from now on `pg_stat_activity` does not show it. Raises 53200 if there is too little memory
/// for it.
pub fn receive(token: Option<&[u8]>) {
    activity::conceal_tokens();
    memory::require(token.map_or(0, <[u8]>::len));
}
