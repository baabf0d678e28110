//! What the readers return: the identity's claims in PostgreSQL's types, made once for each identity.

use std::cell::RefCell;
use std::rc::Rc;

use pg_jwks_core::claims::{ClaimSet, RestoredClaims};

use super::request_claims;
use super::session::{self, Identity};
use crate::pg::backend_local::BackendLocal;
use crate::pg::jsonb::Jsonb;

/// The claims in PostgreSQL's types.
pub struct Derived {
    serial: u64,
    /// All claims.
    pub jsonb: Jsonb,
    /// The claims for the core's readers.
    pub claims: Rc<ClaimSet>,
}

static DERIVED: BackendLocal<RefCell<Option<Derived>>> = BackendLocal::new(RefCell::new(None));

/// Calls `read` with the claims of `identity`, which must be the one that readers see. Raises 22P05 if the database
/// cannot hold them.
pub fn with_derived<T>(identity: Identity, read: impl FnOnce(&Derived) -> T) -> T {
    let known = DERIVED.with_borrow(|derived| derived.as_ref().is_some_and(|known| known.serial == identity.serial));
    if !known {
        let (claims, json) = believed(identity);
        DERIVED.set(Some(Derived { serial: identity.serial, jsonb: Jsonb::new(&json), claims: Rc::new(claims) }));
    }
    DERIVED.with_borrow(|derived| match derived {
        Some(derived) => read(derived),
        None => unreachable!("derived just now"),
    })
}

/// The claims of `identity`, and the same as ASCII JSON: what PostgREST left, or what the guarded setting holds.
fn believed(identity: Identity) -> (ClaimSet, String) {
    if let Some((claims, json)) = request_claims::claims_of(identity) {
        return (claims.into(), json);
    }
    let json = session::json();
    let Some(claims) = RestoredClaims::from_guarded_setting(&json) else {
        unreachable!("the check hook lets verified claims pass only")
    };
    (claims.into(), json)
}
