//! What the readers return: the identity's claims in PostgreSQL's types, made once for each identity.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use pg_jwks_core::claims::{ClaimSet, RestoredClaims};

use super::request_claims;
use super::session::{self, Identity};
use crate::pg::backend_local::BackendLocal;
use crate::pg::jsonb::{Jsonb, check_representable};

/// The claims of one identity.
pub struct Derived {
    serial: u64,
    /// The claims for the core's readers.
    pub claims: Arc<ClaimSet>,
    jsonb: OnceCell<Jsonb>,
}

impl Derived {
    /// All claims.
    pub fn jsonb(&self) -> &Jsonb {
        self.jsonb.get_or_init(|| Jsonb::new(&session::json()))
    }
}

static DERIVED: BackendLocal<RefCell<Option<Derived>>> = BackendLocal::new(RefCell::new(None));

/// Calls `read` with the claims of `identity`, which must be the one that readers see. Raises 22P05 if the database
/// cannot hold them.
pub fn with_derived<T>(identity: Identity, read: impl FnOnce(&Derived) -> T) -> T {
    let known = DERIVED.with_borrow(|derived| derived.as_ref().is_some_and(|known| known.serial == identity.serial));
    if !known {
        let (claims, jsonb) = believed(identity);
        DERIVED.with_borrow_mut(|derived| match derived {
            // The same token again.
            Some(derived) if Arc::ptr_eq(&derived.claims, &claims) => derived.serial = identity.serial,
            _ => *derived = Some(Derived { serial: identity.serial, claims, jsonb }),
        });
    }
    DERIVED.with_borrow(|derived| match derived {
        Some(derived) => read(derived),
        None => unreachable!("derived just now"),
    })
}

/// The claims of `identity`: what PostgREST left, or what the guarded setting holds. Those of a login were not asked yet
/// whether the database can hold them.
fn believed(identity: Identity) -> (Arc<ClaimSet>, OnceCell<Jsonb>) {
    if let Some((claims, json)) = request_claims::claims_of(identity) {
        return (Arc::new(claims.into()), Jsonb::new(&json).into());
    }
    if let Some(claims) = session::claims_set_as(identity.serial) {
        return (claims, OnceCell::new());
    }
    let json = session::json();
    let Some(claims) = RestoredClaims::from_guarded_setting(&json) else {
        unreachable!("the check hook lets verified claims pass only")
    };
    check_representable(&json, &claims);
    (Arc::new(claims.into()), OnceCell::new())
}
