//! The claims that PostgREST leaves in `request.jwt.claims`, believed if `pg_jwks.trust_request_claims` says so.

use std::cell::RefCell;
use std::ffi::{CStr, CString};

use pg_jwks_core::claims::RequestClaims;
use pg_jwks_core::json::ascii_escaped;
use pg_jwks_core::time::Timestamp;

use super::session::{self, Identity};
use crate::pg::backend_local::BackendLocal;
use crate::pg::encoding::utf8;
use crate::pg::setting::with_value;

/// The claims that were believed last.
struct Believed {
    setting: CString,
    /// ASCII, as that of a verified identity is.
    json: String,
    claims: RequestClaims,
    identity: Identity,
}

static BELIEVED: BackendLocal<RefCell<Option<Believed>>> = BackendLocal::new(RefCell::new(None));

/// The end of an identity that does not expire.
const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

/// The identity that `request.jwt.claims` stands for: without `exp` it does not expire. `None` if the setting is not
/// a JSON object.
pub fn identity() -> Option<Identity> {
    with_value(c"request.jwt.claims", |setting| {
        let setting = setting?;
        known(setting).or_else(|| believe(setting))
    })
}

fn known(setting: &CStr) -> Option<Identity> {
    BELIEVED.with_borrow(|believed| {
        believed.as_ref().filter(|believed| believed.setting.as_c_str() == setting).map(|believed| believed.identity)
    })
}

fn believe(setting: &CStr) -> Option<Identity> {
    let json = utf8(setting.to_bytes())?.into_owned();
    let claims = RequestClaims::from_request_setting(&json)?;
    let expires = claims.expires().unwrap_or(NEVER);
    let identity = Identity { serial: session::next_serial(), expires, end: expires };
    let json = ascii_escaped(&json);
    BELIEVED.set(Some(Believed { setting: setting.to_owned(), json, claims, identity }));
    Some(identity)
}

/// The claims of an identity that came from `request.jwt.claims`, and the same as ASCII JSON.
pub fn claims_of(identity: Identity) -> Option<(RequestClaims, String)> {
    BELIEVED.with_borrow(|believed| {
        let believed = believed.as_ref().filter(|believed| believed.identity == identity)?;
        Some((believed.claims.clone(), believed.json.clone()))
    })
}
