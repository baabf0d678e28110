//! The tenants of the identity: from its claims if `pg_jwks.tenant_claim` says where they are, otherwise from the
//! membership table (`pg_jwks.tenant_lookup`).

mod as_owner;
mod authority;
mod choice;
mod column;
pub mod dependencies;
pub mod error;
mod lookup;
mod own_code;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use pg_jwks_core::claims::ClaimSet;

use crate::identity::connected;
use crate::identity::derived::with_derived;
use crate::identity::session::Identity;
use crate::identity::standing::standing_identity;
use crate::pg::backend_local::BackendLocal;
use crate::pg::encoding::server_encoded;
use crate::pg::encoding::utf8;
use crate::pg::memory;
use crate::settings::{self, Settings};

use dependencies::Dependencies;

pub use lookup::Tenant;

/// Defines the setting that keeps a choice, and watches what a tenant depends on.
pub fn define() {
    choice::define();
    dependencies::watch();
}

/// Where the memberships of a user are.
pub enum Memberships {
    /// In the token.
    Claimed(Vec<Tenant>),
    /// In the membership table, under this name of the user.
    InTable { settings: Rc<Settings>, user: Option<Vec<u8>> },
}

impl Memberships {
    /// Of the identity in force, and who it is. Raises 55000 if its issuer is not configured any more.
    pub fn of(identity: Identity) -> (Self, Who) {
        let claims = with_derived(identity, |derived| derived.claims.clone());
        let settings = settings::current();
        let Some(provider) = settings.provider_of(&claims) else { error::raise_unknown_issuer() };
        let user = provider.user(&claims);
        let memberships = match &provider.tenant_claim {
            Some(path) => {
                let tenants = claims.identifiers_at(path);
                Self::Claimed(tenants.iter().map(|tenant| server_encoded(tenant).into()).collect())
            }
            None => Self::InTable { user: user.as_deref().map(server_encoded), settings: settings.clone() },
        };
        (memberships, Who { claims, user })
    }

    /// All of them, each once.
    pub fn all(&self) -> Vec<Tenant> {
        match self {
            Self::Claimed(tenants) => tenants.clone(),
            Self::InTable { settings, user } => lookup::tenants(&settings.tenant_lookup, user.as_deref(), None),
        }
    }

    /// The tenant as the membership has it, if there is that membership.
    fn find(&self, tenant: &[u8]) -> Option<Tenant> {
        match self {
            Self::Claimed(tenants) => tenants.iter().find(|claimed| ***claimed == *tenant).cloned(),
            Self::InTable { settings, user } => {
                lookup::tenants(&settings.tenant_lookup, user.as_deref(), Some(tenant)).pop()
            }
        }
    }
}

/// The user of an identity.
pub struct Who {
    claims: Arc<ClaimSet>,
    user: Option<String>,
}

impl Who {
    /// By what a choice is known to be theirs; `None` if the claims name no user.
    fn subject(&self) -> Option<choice::Subject> {
        self.user.as_deref().map(|user| self.claims.user_digest(user))
    }
}

/// The tenant that was found last, and what it depended on.
struct Last {
    dependencies: Dependencies,
    tenant: Option<Tenant>,
}

static LAST: BackendLocal<RefCell<Option<Last>>> = BackendLocal::new(RefCell::new(None));

/// The current tenant of `identity`, which must be the one in force. One statement looks it up once.
pub fn current(identity: Identity, dependencies: Option<Dependencies>) -> Option<Tenant> {
    let known = LAST.with_borrow(|last| match last {
        Some(last) if dependencies == Some(last.dependencies) => Some(last.tenant.clone()),
        _ => None,
    });
    known.unwrap_or_else(|| {
        let tenant = found(identity);
        if let Some(tenant) = tenant.as_deref().and_then(utf8) {
            connected::note_tenant(identity.serial, &tenant);
        }
        LAST.set(dependencies.map(|dependencies| Last { dependencies, tenant: tenant.clone() }));
        tenant
    })
}

fn found(identity: Identity) -> Option<Tenant> {
    memory::require(0);
    let (memberships, who) = Memberships::of(identity);
    if choice::is_made()
        && let Some(chosen) = who.subject().and_then(choice::of)
    {
        return memberships.find(&chosen).or_else(|| error::raise_no_longer_member());
    }
    let mut tenants = memberships.all();
    if tenants.len() > 1 {
        error::raise_no_tenant_chosen();
    }
    tenants.pop()
}

/// Makes `tenant` the current one, for the session or for the transaction; `None` takes the choice back. Raises 42501
/// if the user is not a member of it, or there is no user.
pub fn choose(tenant: Option<&[u8]>, is_local: bool) {
    memory::require(0);
    let Some(tenant) = tenant else {
        return choice::clear(is_local);
    };
    let Some(identity) = standing_identity() else { error::raise_not_member("The session has no identity.") };
    let (memberships, who) = Memberships::of(identity);
    let Some(subject) = who.subject() else {
        error::raise_not_member("The token of this session's identity names no user (pg_jwks.user_claim).")
    };
    match memberships.find(tenant) {
        Some(tenant) => choice::set(subject, &tenant, is_local),
        None => error::raise_not_member("No membership of the user names it."),
    }
}
